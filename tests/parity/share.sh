# What a container shares with others or with the host: mounts, volumes, namespaces, kernel settings.

## --mount
D run --rm --net none --mount type=tmpfs,dst=/t,tmpfs-size=64k,tmpfs-mode=700 busybox sh -c \
    'stat -c %a /t; df -k /t | tail -1 | tr -s " " | cut -d" " -f2'; mkdir d; echo x > d/f
D run --rm --net none --mount type=bind,src=$PWD/d,dst=/d,readonly busybox sh -c 'cat /d/f; echo>/d/g'
echo $?; D run --rm --net none --mount src=$N,dst=/v busybox sh -c 'echo y > /v/f'
D run --rm --net none --mount type=volume,source=$N,target=/v,ro busybox sh -c 'cat /v/f; echo >/v/g'
echo $?; D volume rm $N; for m in type=bind,dst=/x type=bind,src=/nosuch,dst=/x dst=/x,bad=1 src=a x \
    type=npipe,src=a,dst=/b type=bind,src=/tmp,dst=/x,volume-nocopy type=tmpfs,src=a,dst=/x dst=rel \
    type=volume,dst=/x,tmpfs-size=1k ''; do D create --name $N --mount "$m" busybox; echo "$m $?"; done
D create --net none --name $N --mount type=volume,dst=/etc,volume-nocopy busybox >/dev/null; D start $N
D inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} {{.Mode}}{{end}} {{json .HostConfig.Mounts}}' $N
D cp $N:/etc/. - | tar tf - | grep -c passwd; D rm -fv $N
D create --net none --name $N --mount type=volume,src=$N,dst=/x,volume-label=a=b,volume-label=c busybox
D volume inspect -f '{{json .Labels}}' $N; D rm $N; D volume rm $N
D run --rm --net none --mount type=bind,src=$PWD/d,dst=/d,bind-propagation=rprivate busybox grep -c ' /d ' /proc/self/mountinfo
mkdir -p d/sub; D run --rm --net none --mount type=bind,src=$PWD/d,dst=/d,bind-recursive=disabled busybox ls /d

## --volumes-from
D create --net none --name $N -v /a -v $PWD:/b:ro -v nv$N:/c busybox >/dev/null; echo hi > f
D run --rm --net none --volumes-from $N busybox sh -c 'cat /b/f; echo 1 > /a/x; echo 2 > /c/y; echo >/b/z'
D run --rm --net none --volumes-from $N:ro busybox sh -c 'cat /a/x /c/y; echo > /a/z'; echo $?
D run --rm --net none --volumes-from $N -v /tmp:/a busybox sh -c 'ls /a/x'; echo $?
for f in nosuch $N:rx $N:ro,z; do D create --name ${N}x --volumes-from "$f" busybox >/dev/null; echo $?; done
D rm ${N}x; D create --net none --name ${N}x --volumes-from $N busybox >/dev/null
D inspect -f '{{json .HostConfig.VolumesFrom}} {{len .Mounts}}' ${N}x; D rm -v $N
D start ${N}x; D inspect -f '{{range .Mounts}}{{.Destination}} {{end}}' ${N}x | tr ' ' '\n' | sort
D rm -v ${N}x; D volume rm nv$N

## unclean paths: -v
mkdir d; F='{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} [{{.Mode}}]{{if eq .Type "bind"}} {{.Source}}{{end}}{{println}}{{end}}{{json .HostConfig.Binds}} {{json .Config.Volumes}}'
V() { echo "$*"; D create --net none --name $N "$@" busybox true >/dev/null; echo $?; D inspect -f "$F" $N | sed "s|$PWD|PWD|" | sort; D rm -v $N; }
for v in a:/v x:/a/../b x://v/ x:/v/. nv$N:/a/../b nv$N://v/ nv$N:/v/./w/:ro nv$N:/v//w:z nv$N:/../v \
    nv$N:/. nv$N:v nv$N:./v x:/v:ro x:y:/v /tmp/:/v/ /tmp//:/v/../w //tmp:/v /tmp/../tmp/.:/v//:ro .:/v ./d/..:/v \
    ../x:/v a/b:/v nv$N/:/v /v/ //v /v/../w v ./v vv/ ../v /v:ro; do V -v "$v"; done
V -v nv$N:/v -v nv$N:/w/../v; V -v nv$N:/v -v /v/; V -v v -v nv$N:/v; V -v nv$N:/v --tmpfs /v
V -v nv$N:/v --tmpfs /v/; V -v nv$N:/v/ --tmpfs /v; V -v /v --tmpfs /v/; V -v /v/ --tmpfs /v
D run --rm --net none -v v -v nv$N://w/ busybox sh -c 'grep -o " /[vw] " /proc/self/mountinfo | sort'; D volume rm nv$N

## unclean paths: --mount, --tmpfs
F='{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} [{{.Mode}}]{{if eq .Type "bind"}} {{.Source}}{{end}}{{println}}{{end}}{{json .HostConfig.Mounts}} {{json .HostConfig.Tmpfs}}'
V() { echo "$*"; D create --net none --name $N "$@" busybox true >/dev/null; echo $?; D inspect -f "$F" $N | sort; D rm -v $N; }
for m in dst=/a/./b dst=/v/ dst=//v dst=/a/../v dst=/a/.. dst=v dst=./v; do
    V --mount $m,src=nv$N; V --mount type=tmpfs,$m; V --mount type=bind,src=/tmp,$m; V --tmpfs ${m#dst=}; done
for s in /tmp/ /tmp/../tmp //tmp .. tmp; do V --mount type=bind,dst=/v,src=$s; done
V --mount dst=/v,src=./x; V --mount dst=/v,src=/tmp; V --mount dst=/v/,src=nv$N -v nw$N:/v; V --mount type=tmpfs,dst=/v/ -v /v
V --mount dst=/v,src=nv$N --mount dst=/v/,src=nw$N; V --mount dst=/v,src=nv$N --tmpfs /v; V --tmpfs /v --tmpfs /v/
D run --rm --net none --tmpfs //t/ --mount type=tmpfs,dst=//u/ busybox sh -c 'grep -o " /[tu] " /proc/self/mountinfo | sort'
D volume rm nv$N

## unclean paths: --volumes-from
D create --net none --name $N -v nv$N:/v/ -v /tmp:/b/../c -v an/ -v nw$N:/etc:nocopy busybox >/dev/null
F='{{range .Mounts}}{{.Type}} {{.Destination}} {{.RW}} [{{.Mode}}]{{println}}{{end}}'; D inspect $N | grep -A99 '"Mounts"' | grep -B99 '"Config"' | grep -o '"[A-Za-z]*":' | sort | uniq -c
V() { echo "${*/$N/n}"; D create --net none --name ${N}x "$@" busybox true >/dev/null; echo $?; D inspect -f "$F" ${N}x | sort; D rm -v ${N}x; }
for f in $N $N:ro $N:z "$N -v ny$N:/v/" "$N -v /v/" "$N -v an" "$N --tmpfs /v" "$N --mount dst=/c/,src=ny$N"; do V --volumes-from $f; done
D run --rm --net none --volumes-from $N busybox ls /etc; D rm -v $N; D volume rm nv$N nw$N ny$N

## namespaces of another container
D run -d --net none --name $N --ipc shareable busybox sh -c 'echo x > /dev/shm/f; sleep 1000' >/dev/null
D run --rm --net none --pid container:$N busybox sh -c 'ps | grep -c "[s]leep 1000"'
D run --rm --net none --ipc container:$N busybox cat /dev/shm/f; D run --rm --network container:$N busybox hostname |
    wc -c; for m in '--pid container:nosuch' '--ipc container:nosuch' "--uts container:$N" '--pid bad' '--ipc bad' \
    '--uts bad' '--pid container:' '--userns bad' '--cgroupns bad'; do
    D create --net none $m busybox >/dev/null; echo "$? ${m/$N/c}"; done
D run --rm --net none --ipc none busybox sh -c 'ls /dev/shm'; echo $?
D run --rm --net none --uts host busybox hostname | cmp - <(hostname) && echo same
D run --rm --net none --pid host busybox sh -c '[ $(ps | wc -l) -gt 10 ]'; echo $?
D stop -t 0 $N; D run --rm --net none --pid container:$N busybox true; echo $?; D rm $N

## kernel settings
D run --rm --net none --sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=12345 busybox sh -c \
    'cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax'
for s in kernel.hostname=x vm.swappiness=1 bad ''; do
    D run --rm --net none --sysctl "$s" busybox true; echo "$? $s"; done
D run --rm --net host --sysctl net.ipv4.ip_forward=1 busybox true; echo $?
D run --rm --net none --oom-score-adj 300 busybox cat /proc/self/oom_score_adj
for o in 1001 -1001 x; do D create --oom-score-adj $o busybox; echo $?; done
D run --rm --net none --group-add 77 --group-add tty busybox id -G; D run --rm --net none --group-add nosuch busybox id
echo $?; D run --rm --net none -u 1000 --group-add 5 busybox id
D create --net none --name $N --sysctl net.ipv4.ip_forward=1 --oom-score-adj 5 --group-add 7 busybox
D inspect -f '{{json .HostConfig.Sysctls}} {{.HostConfig.OomScoreAdj}} {{.HostConfig.GroupAdd}}' $N; D rm $N
