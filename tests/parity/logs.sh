# Log rotation.
lines() { seq -f "line %g" $1; }

## options
for o in max-size=10k max-file=2 'max-size=10k --log-opt max-file=3' max-size=1.5m nosuch=1 '' x; do
    D create --net none --name $N --log-opt $o busybox >/dev/null; echo "$? $o"
    D inspect -f '{{json .HostConfig.LogConfig}}' $N; D rm $N; done
D create --net none --name $N --log-driver none --log-opt max-size=1k busybox; echo $?; D rm $N
for o in max-size=x max-file=0 max-file=x max-size=-1; do
    D run --net none --name $N --log-opt $o busybox true; echo "$? $o"; D rm $N; done

## three files
D run --net none --name $N --log-opt max-size=10k --log-opt max-file=3 busybox sh -c 'seq 1000 | sed "s|^|line |"' | tail -1
n=$(D logs $N | wc -l); [ $n -gt 220 ] && [ $n -lt 390 ] && echo fits
D logs $N | tail -n +2 | cmp - <(lines 1000 | tail -n $((n - 1))) && echo no gap
D logs --tail 3 $N; D logs --tail 215 $N | cmp - <(lines 1000 | tail -n 215) && echo tail
D logs --tail 5000 $N | wc -l | grep -qx $n; echo $?; D start $N; D wait $N; D logs --tail 1 $N
ls $(dirname $(D inspect -f '{{.LogPath}}' $N)) | grep -c 'log'; D rm $N

## one file
D run --net none --name $N --log-opt max-size=10k busybox sh -c 'seq 1000 | sed "s|^|line |"' | tail -1
n=$(D logs $N | wc -l); [ $n -lt 150 ] && echo fits; D logs $N | cmp - <(lines 1000 | tail -n $n) && echo no gap

## followed
D run -d --net none --name $N --log-opt max-size=2k --log-opt max-file=5 busybox sh -c \
    'for i in $(seq 100); do echo line $i; sleep 0.03; done' >/dev/null
D logs -f $N | cmp - <(lines 100) && echo all of it
