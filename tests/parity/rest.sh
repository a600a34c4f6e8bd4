# Rare features: volumes that are mounts, volume-subpath, detach keys.

## restart keeps what --rm would remove
D run -d --rm --net none --name $N busybox sleep 100; D restart -t 0 $N
D ps -a -f name=$N --format '{{.Names}} {{.State}}'; D inspect -f '{{.HostConfig.AutoRemove}}' $N
D stop -t 0 $N; until [ -z "$(D ps -aq -f name=$N)" ]; do sleep 0.1; done

## run -a, with -d
for a in '-a stdout' '-a stderr' '-a stdout -a stderr' '-a stdin' '-a stdin -a stdout' '-a STDERR -i' \
    '-a stdin -i'; do
    echo "== $a"; echo in | D run --rm --net none $a busybox sh -c 'echo o; echo e >&2; cat' 2>e
    echo $?; grep -x e e; done
D run --net none -d -a stdout busybox true; echo $?
D run --net none --name $N -a stdin busybox true
D inspect -f '{{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.AttachStderr}}' $N

## attach and signals
D run -d --net none --name $N busybox sh -c 'trap "echo got; exit 3" TERM
    while :; do echo ready; sleep 0.1; done'
until D logs $N | grep -q ready; do sleep 0.1; done
hears() { until grep -q ready $1 2>/dev/null; do sleep 0.1; done; }
$D attach --sig-proxy=false $N > o & p=$!; hears o; kill -TERM $p; wait $p; echo $?
D ps -f name=$N --format '{{.State}}'
$D attach --no-stdin $N > o2 & p=$!; hears o2; kill -TERM $p; wait $p; echo $?; tail -1 o2
D attach --detach-keys ctrl-x,ctrl-% $N; echo $?

## names of a host
D run -d --net none -h hh --name $N busybox sleep 100
D run --rm --net container:$N busybox hostname; D run --rm --uts host -h x busybox true; echo $?

## a volume on tmpfs
D volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,uid=1000,noexec $N
D volume inspect -f '{{json .Options}} {{json .Labels}} {{.Driver}}' $N
D run --rm --net none -v $N:/v busybox sh -c 'df -k /v | tail -1 | awk "{print \$1,\$2}"
    stat -c %u /v; grep -o " /v .*noexec" /proc/mounts; echo > /v/x'
D run --rm --net none -v $N:/v busybox ls /v
D run -d --net none -v $N:/v --name $N busybox sh -c 'echo hi > /v/f; sleep 100'
until D exec $N test -s /v/f; do sleep 0.1; done
D run --rm --net none -v $N:/v busybox cat /v/f; D volume rm $N; echo $?
D rm -f $N; D run --rm --net none -v $N:/v:nocopy busybox ls /v; D volume rm $N
D run --rm --net none --name $N busybox true
D run --rm --net none --mount \
    type=volume,dst=/etc,volume-opt=type=tmpfs,volume-opt=device=x,volume-opt=o=size=1m \
    busybox sh -c 'grep -c root: /etc/passwd; df -k /etc | tail -1 | awk "{print \$1,\$2}"'

## a volume that is a bind mount
mkdir src; echo x > src/f; D volume create -o type=none -o device=$PWD/src -o o=bind $N
D run --rm --net none -v $N:/v busybox sh -c 'cat /v/f; echo y > /v/g'; cat src/g
D create --net none -v $N:/v --name $N busybox; echo z > z; D cp z $N:/v/z; cat src/z
D cp $N:/v/f - | tar -t; D rm $N; D volume rm $N; ls src
D volume create -o type=none -o device=$PWD/src -o o=bind,ro $N
D run --rm --net none -v $N:/v busybox touch /v/f; echo $?; D volume rm $N

## invalid volume options
for o in '-o bad=x' '-o o=bind' '-o type=tmpfs' '-o size=1m'; do D volume create $o $N; echo $?; done
D volume create -o type=none -o device=/nosuch -o o=bind $N
D run --name $N --net none -v $N:/v busybox true; echo $?
D inspect -f '{{.State.Status}} {{.State.ExitCode}}' $N; D rm $N; D volume rm $N
D volume create -o type=nosuch -o device=x $N; D run --rm --net none -v $N:/v busybox true; echo $?
D volume rm $N; D volume create $N; D volume create -o type=tmpfs -o device=tmpfs $N
D volume inspect -f '{{json .Options}}' $N; D volume rm $N

## volume-subpath
D run --rm --net none -v $N:/v busybox sh -c \
    'mkdir -p /v/a/b; echo x > /v/a/f; ln -s /etc /v/link; ln -s a /v/good; echo y > /v/file'
for s in a a/b link good file ../x nosuch /a; do echo "== $s"
    D run --rm --net none --mount type=volume,src=$N,dst=/w,volume-subpath=$s busybox \
        sh -c 'ls -d /w; ls /w | head -3; [ ! -f /w ] || cat /w' 2>e
    code=$?; [ $s = link ] || echo $code; done  # a link out of the volume: 125 there, 127 here
D run -d --name $N --net none --mount type=volume,src=$N,dst=/w,volume-subpath=a busybox sleep 100
D exec $N ls /w; echo z > z; D cp z $N:/w/z; D stop -t 0 $N; D cp $N:/w/f - | tar -t
D start $N; D exec $N ls /w; D rm -f $N; D volume rm $N

## read-only bind mounts with submounts
mkdir s s/m; mount -t tmpfs none s/m
for m in '' ,bind-recursive=writable ,bind-recursive=disabled \
    ,bind-recursive=readonly,bind-propagation=rprivate; do
    D run --rm --net none --mount type=bind,src=$PWD/s,dst=/v,readonly$m busybox \
        sh -c 'touch /v/m/x; touch /v/x'; echo $?; done
D run --rm --net none -v $PWD/s:/v:ro busybox touch /v/m/x; echo $?; umount s/m
for m in bind-recursive=readonly bind-recursive=writable readonly,bind-recursive=readonly \
    bind-recursive=x src=; do
    D run --rm --net none --mount type=bind,src=/tmp,dst=/v,$m busybox true; echo $?; done

## --ip needs a user-defined network
D run --rm --ip 1.2.3.4 busybox true; echo $?

## update with values that change nothing
D run -d --net none --name $N busybox sleep 100
for f in '-c 0' '-m 0' '--cpus 0' --restart= '--pids-limit 0' --cpuset-cpus= '--memory-swap 100m' \
    '-m 20m --memory-swap 30m' '-m 0' --memory-swap=-1 '-m 4m'; do
    D update $f $N >o 2>&1; echo "$? $f"; done; D update $N; echo $?
D inspect -f '{{.HostConfig.CpuShares}} {{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' $N

## /.dockerenv and inspect
D run --rm --net none busybox sh -c 'ls -l /.dockerenv | cut -c1-10; wc -c < /.dockerenv; ls -A /'
D create --net none --name $N busybox; D diff $N; D export $N | tar -t | grep dockerenv
D commit $N $N:c >/dev/null; D run --rm --net none $N:c ls -A /; D rmi $N:c >/dev/null
D run --net none --name ${N}a --annotation a=b --annotation a=c --annotation d= busybox true; echo $?
D inspect -f '{{json .HostConfig.Annotations}}' ${N}a

## a volume that was emptied stays empty at the next start
D create --net none --name $N busybox sh -c 'stat -c %u /d; ls /d; rm -f /d/*; chown 1000 /d' >o
mkdir d; touch d/x; D cp d $N:/; D commit -c 'VOLUME /d' $N $N:v >o; D rm $N; D run --net none --name $N $N:v
D start -a $N; D cp $N:/d - | tar -t; D rm -fv $N; D rmi $N:v >o

## unknown storage options
for o in x=y size; do D create --storage-opt $o --net none busybox; echo $?; done

## prune: an unknown filter
# differs: minidock refuses it before the confirmation, docker after it
echo n | D image prune --filter x=y; echo $?; echo n | D container prune --filter x=y; echo $?

## --detach-keys
typed() { script -qec "tty > tty; $1; echo code \$?" typescript | tr -d '\r' | sed 's/minidock: //'; }
raw() { until stty -a -F "$(cat tty 2>&1)" 2>/dev/null | grep -q -e -icanon; do sleep 0.1; done; rm tty; }
D run -dit --net none --name $N busybox cat >o
(raw; printf 'ax'; sleep 0.3; printf 'q') | typed "$D attach --detach-keys x,q $N"
D ps -f name=$N --format '{{.State}}'
(raw; printf 'xq') | typed "$D exec -it --detach-keys x,q $N cat"; D rm -f $N
(raw; printf 'zz') | typed "$D run -it --detach-keys z,z --net none --name $N busybox cat"
D ps -f name=$N --format '{{.State}}'; D exec -d $N nosuch; echo $?
