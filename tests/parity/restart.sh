# Restart policies: output, which containers restart, and what ends the policy.

# `ends` waits for the end of a container, `pauses` for a pause of three seconds, the sixth, which
# is seen however slow the machine is.
show() { D inspect -f '{{.State.Status}} {{.State.Running}} {{.State.Restarting}}' "$1"
         D inspect -f '{{.State.ExitCode}} {{.RestartCount}}' "$1"; }
listed() { D ps --filter name=$N "$@"; }
is() { [ "$(D inspect -f "$2" "$1")" = "$3" ]; }
counts() { D inspect -f '{{if .State.Restarting}}{{.RestartCount}}{{else}}0{{end}}' "$1"; }
ends() { until is "$1" '{{.State.Status}}' exited; do sleep 0.05; done; }
pauses() { until [ "$(counts "$1")" -ge 6 ]; do sleep 0.05; done; }
goes_on() { until D inspect -f '{{.State.Status}} {{.RestartCount}}' "$1" |
            grep -q -e exited -e 'running [1-9]'; do sleep 0.05; done; }
runs() { until is "$1" '{{.RestartCount}} {{.State.Status}}' "$2 running"
         do sleep 0.05; done; }

## refused options
for p in always:3 on-failure:-1 on-failure:x no:1 bogus on-failure:2:3 :3 Always; do
    D create --restart $p busybox true; echo $?; D run --restart $p busybox true; echo $?
done
for p in '' no always always: on-failure on-failure:0 on-failure:7 unless-stopped; do
    D create --name $N --restart "$p" busybox true >/dev/null
    D inspect -f '{{json .HostConfig.RestartPolicy}}' $N; D rm $N >/dev/null; done
for p in always on-failure:0; do D run --rm --restart $p busybox true; echo $?
    D create --rm --restart $p busybox true; echo $?; done
D run --rm --restart no --net none busybox echo fine; echo $?

## on-failure counts
D run -d --net none --name $N --restart on-failure:2 busybox \
    sh -c 'echo x >> /f; wc -l < /f; exit 3'
ends $N; show $N; D logs $N; D start -a $N; echo $?; ends $N; show $N; D logs $N; D rm $N
D run -d --net none --name $N --restart on-failure busybox sh -c 'echo well'
ends $N; show $N; D rm $N
D run -d --net none --name $N --restart no busybox sh -c 'exit 3'; ends $N; show $N

## in the foreground, the command ends with the first run
D run --net none --name $N --restart on-failure:1 busybox sh -c 'echo hi; exit 3'; echo $?
ends $N; show $N; D logs $N; D rm $N
(echo one; sleep 1) | D run -i --net none --name $N --restart on-failure:1 busybox \
    sh -c 'read a; echo got $a; exit 3'; echo $?
runs $N 1; show $N; D rm -f $N
D run -dt --net none --name $N --restart on-failure:1 busybox sh -c 'tty; exit 3'
ends $N; show $N; D logs $N

## between two runs
D run -d --net none --name $N --restart always busybox sh -c 'echo hi; exit 4'
pauses $N; D inspect -f '{{.State.Status}} {{.State.Running}} {{.State.ExitCode}}' $N
listed --format '{{.Status}} {{.State}} {{.Ports}}.'; listed -q --filter status=running
listed --filter status=restarting --format '{{.Names}}'; listed -a --filter exited=4 -q
D inspect -f '{{json .NetworkSettings.Ports}} {{.State.Pid}}' $N
pauses $N; D exec $N true; echo $?; D attach $N; echo $?; D top $N; echo $?
pauses $N; D start $N; echo $?; D rm $N; echo $?; D port $N; D logs -n 1 -f $N
D wait $N; pauses $N; D stop $N; echo $?; D wait $N
D inspect -f '{{.State.Status}} {{.State.ExitCode}}' $N; D rm $N

## stop, kill and restart
D run -d --net none --name $N --restart always --stop-signal KILL busybox sleep 100
D stop $N; sleep 0.4; show $N; D start $N; show $N; D kill $N; sleep 0.4; show $N
D start $N; D restart $N; show $N; D rm -f $N

## kill between two runs
D run -d --net none --name $N --restart unless-stopped busybox sh -c 'exit 3'
pauses $N; D kill -s USR1 $N; ends $N; D inspect -f '{{.State.ExitCode}}' $N
D start $N; pauses $N; D restart $N; pauses $N; D kill $N; ends $N
D inspect -f '{{.State.ExitCode}}' $N; D rm $N

## signals that end the policy, and others
for s in '' '--stop-signal TERM'; do for p in always unless-stopped on-failure; do
    D run -d --net none --name $N $s --restart $p busybox sh -c \
        'trap "echo got" USR1; echo ready; while [ ! -e /end ]; do sleep 0.05; done
         rm /end; exit 2'
    until D logs $N | grep -q ready; do sleep 0.05; done
    D kill -s USR1 $N; until D logs $N | grep -q got; do sleep 0.05; done
    D exec $N touch /end; goes_on $N; show $N; D rm -f $N; done; done

## a signal to the attached command
for s in TERM USR1; do
    $D run --net none --name $N --restart always busybox sh -c \
        "trap 'exit 5' $s; echo ready; while :; do sleep 0.05; done" > out$s & p=$!
    until grep -q ready out$s; do sleep 0.05; done; kill -$s $p
    wait $p; echo $?; ends $N; show $N; D rm $N; done

## containers that fail to start
D run -d --net none --name $N --restart always busybox /nosuch; echo $?
D inspect -f '{{.State.Running}} {{.State.ExitCode}} {{.RestartCount}}' $N; D rm $N
D run -d --net none --name $N --restart always busybox \
    sh -c 'sleep 0.2; mv /bin/sh /bin/moved; exit 5'
ends $N; show $N; listed -a --format '{{.Status}}'

## logs and wait see the end of each run
touch go
D run -d --net none --name $N --restart on-failure:1 busybox \
    sh -c 'echo ready; until [ -e /go ]; do sleep 0.05; done; echo hi; exit 3'
D wait $N > one & D wait $N > two & D logs -f $N > three &
until grep -q ready three; do sleep 0.05; done; D cp go $N:/go; wait; cat three one two
ends $N; D logs $N; D logs -f $N; D wait $N

## out of memory
D run -d --net none --name $N -m 16m --memory-swap 16m --restart on-failure:1 busybox \
    sh -c 'x=x; while :; do x=$x$x; done'
ends $N; show $N
