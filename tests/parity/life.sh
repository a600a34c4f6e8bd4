# A container's life: signals, exec, logs, lists, and images made of it.

## stop
D run -d --net none --name $N busybox sh -c 'trap "" TERM; while :; do sleep 0.2; done'
s=$(date +%s); D stop -t 2 $N; e=$(date +%s); [ $((e-s)) -ge 2 ] && [ $((e-s)) -lt 10 ]
echo $?; D inspect -f '{{.State.ExitCode}} {{.State.Status}} {{.State.Pid}}' $N
D stop $N; echo $?; D rm $N; D stop nosuch; echo $?; D stop -t x a; echo $?
D run -d --net none --name $N --stop-signal USR1 busybox sh -c \
    'trap "echo got; exit 7" USR1; echo ready; while :; do sleep 0.1; done'
until D logs $N | grep -q ready; do sleep 0.1; done
D stop $N; D logs $N; D wait $N; D rm $N

## kill, restart and start
D run -d --net none --name $N busybox sh -c 'echo x >> /f; wc -l < /f; sleep 100'
for s in 0 NOSUCH 99 ''; do D kill -s "$s" $N; echo $?; done
said() { until [ "$(D logs $N | wc -l)" = $1 ]; do sleep 0.1; done; }
said 1; D restart -t 0 $N; said 2; D logs $N; D kill $N; D wait $N; D kill $N
echo $?; D rm $N; D create -i --net none --name $N busybox cat
echo hello | D start -ai $N; echo $?; D rm $N
D create --net none --name $N busybox nosuch; D start $N; echo $?
D inspect -f '{{.State.Status}} {{.State.ExitCode}}' $N; D rm $N
D start nosuch; echo $?; D start -a a b; echo $?

## pause
D run -d --net none --name $N busybox sleep 100; D pause $N; D pause $N; echo $?
D inspect -f '{{.State.Status}} {{.State.Paused}} {{.State.Running}}' $N
D exec $N true; echo $?; D start $N; echo $?; D stop -t 0 $N; D unpause $N; echo $?
D rm -f $N

## signals reach the command
for s in INT TERM USR1 HUP; do
    $D run --net none --name $N busybox sh -c "trap 'echo $s; exit 5' $s
        echo ready; while :; do sleep 0.1; done" > out$s & p=$!
    until grep -q ready out$s 2>/dev/null; do sleep 0.1; done
    [ $s = INT ] && D kill -s INT $N >/dev/null || kill -$s $p
    wait $p; echo $?; cat out$s; D rm $N; done
$D run --net none --name $N busybox sh -c 'echo ready; sleep 100' > last & p=$!
until grep -q ready last 2>/dev/null; do sleep 0.1; done
kill -9 $p; wait $p 2>/dev/null; echo $?
D ps --format '{{.State}}'; D rm -f $N

## attach
D run --net none --name $N busybox true; D attach $N; echo $?; D attach nosuch; echo $?
D rm $N
D run -d --net none --name $N busybox sh -c 'until [ -e /end ]; do echo hi; sleep 0.1; done; exit 4'
D attach --no-stdin $N > o & until grep -q hi o 2>/dev/null; do sleep 0.1; done
D exec $N touch /end; wait $!; echo $?; sort -u o; D rm $N

## exec
D run -d --net none -e B=1 --name $N busybox sleep 100
D exec $N sh -c 'exit 7'; echo $?; D exec $N sh -c 'kill -9 $$'; echo $?
echo data | D exec -i $N cat; echo data | D exec $N cat
D exec -e A=1 -w /tmp -u 1000:50 $N sh -c 'echo $A $B; pwd; id'; D exec -t $N tty
D exec -u nobody $N sh -c 'echo $HOME'; D exec -w rel $N pwd >/dev/null
echo $?; D exec -u nosuch $N pwd >/dev/null; echo $?; D exec -it $N true; echo $?
D exec nosuch true; echo $?
D exec --privileged $N grep CapEff /proc/self/status; D exec $N grep Cap /proc/self/status
D exec -d $N sh -c 'echo x > /det'; until D exec $N test -s /det; do sleep 0.1; done; D exec $N cat /det; D exec $N; echo $?
D rm -f $N

## logs
D run --net none --name $N busybox sh -c 'for i in 1 2 3; do echo $i; done; printf part'
for f in -t '--tail 2' '-n 0' '--tail all' '--tail x' '--since 1h' '--until 1h' \
    '--since 2100-01-01' '--since bad' -f; do
    D logs $f $N 2>&1 | grep -v -e minidock: -e see: -e invalid -e '^$'
    echo ${PIPESTATUS[0]}; done; D rm $N
D run --net none --name $N busybox sh -c 'head -c 40000 /dev/zero | tr "\0" x; echo; echo'
D logs $N | wc; D rm $N; D run --net none --log-driver none --name $N busybox echo hi
D logs $N; echo $?; D rm $N
D run -d --net none --name $N busybox sh -c 'for i in 1 2 3; do echo $i; sleep 0.2; done'
D logs -f $N; D rm $N

## ps
D run -d --net none --name aa1 -l k=v busybox sleep 100
D create --net none --name aa2 busybox echo 'a b'; D run --net none --name aa3 busybox false
f() { echo "$*"; D ps -a --format '{{.Names}} {{.Networks}}' "$@"; echo $?; }
for w in name=^aa1$ status=exited status=xx label=k label=k=z ancestor=busybox exited=0 \
    before=aa2 since=aa2 network=none health=none nosuch=x id= 'name=a[12]'; do
    f -f "$w"; done
f -n 2; f -l; f -n 1 -f status=exited; D ps -a --no-trunc --format '{{.Command}}'
D ps --format 'table {{.ID}}\t{{.Names}}'; D ps -q | wc -l; D rm -f aa1 aa2 aa3

## ids
i=$(D create --net none --name $N busybox)
for r in ${i:0:4} ${i:0:12} $i /$N; do D inspect -f '{{.Name}}' $r; done
D inspect ''; echo $?; D logs ${i}0; echo $?; D rm ${i:0:6} | wc -c

## commit
D run --net none --name $N -e A=1 -l x=y busybox sh -c 'echo hi > /f; chmod 4755 /f'
D commit -m msg -a me -c 'CMD ["cat","/f"]' -c 'ENV B=2' -c 'EXPOSE 80' -c 'USER 1000' \
    -c 'WORKDIR /tmp' -c 'VOLUME /vol' -c 'STOPSIGNAL SIGINT' $N $N:img | cut -c1-7
D image inspect -f '{{.Comment}}{{.Author}}{{json .Config.Cmd}}{{json .Config.Env}}
    {{json .Config.ExposedPorts}}{{json .Config.Labels}}{{.Config.WorkingDir}}
    {{.Config.User}}{{json .Config.Volumes}}{{.Config.StopSignal}}
    {{len .RootFS.Layers}}' $N:img; D run --rm --net none $N:img
D run --rm --net none -u 0 $N:img stat -c '%a %u' /f; D commit -c 'BAD x' $N x; echo $?
D commit nosuch x; echo $?; D commit $N 'Bad:Ref'; echo $?; D diff $N | sort; D rm $N
D rmi $N:img >/dev/null; echo $?
