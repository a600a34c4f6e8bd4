# stats: columns and formats, and those of the kernel's numbers that are predictable.
numbers() { sed -E 's/[0-9.]+[kKMG]?i?B/<bytes>/g; s/[0-9.]+%/<percent>/g'; }

## once
D run -d --net none --name aa1 -m 50m busybox sh -c 'sleep 100 & sleep 100' >/dev/null
D run -d --net host --name aa2 busybox sleep 100 >/dev/null; D create --name aa3 busybox >/dev/null
D stats --no-stream | numbers; D stats --no-stream -a | numbers; D stats --no-stream aa3 aa1 | numbers
D stats --no-stream --no-trunc aa1 | wc -w; D stats --no-stream --format json aa3
D stats --no-stream --format '{{.Name}} {{.PIDs}} {{.NetIO}}' aa2 aa1; D stats --no-stream nosuch
echo $?; D stats --no-stream --format 'table {{.Name}}\t{{.PIDs}}\t{{.ID}}' aa3
D stats --no-stream --format '{{.MemUsage}}' aa1 | sed 's/.*\///'; D stats --no-stream --format '{{.Nope}}'
echo $?; D container stats --no-stream --format '{{.Container}}' aa3
D pause aa1; D stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.PIDs}}' aa1
D rm -f aa1 aa2 aa3; D stats --no-stream; D stats --no-stream --format '{{.Name}}'

## a busy container, repeatedly
D run -d --net none --name $N --cpus 0.5 busybox sh -c 'while :; do :; done' >/dev/null; sleep 1
timeout 6 $D stats --format '{{.CPUPerc}}' $N > out; echo $?
awk -F. '/%/ { n++; gsub("[^0-9]", "", $1); if ($1 > 20 && $1 < 90) ok++ } END { print (ok > 1) }' out
head -c 7 out | od -c | head -1
