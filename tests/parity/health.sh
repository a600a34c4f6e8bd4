# Health checks: from flags and from the image, their states, and their output.
state() { D inspect -f '{{.State.Health.Status}}' $N; }
until_is() { for i in $(seq 300); do [ "$(state)" = "$1" ] && break; sleep 0.1; done; echo "$1 $i" |
    sed 's/ [12]\?[0-9]\?[0-9]$//'; }
last() { D inspect -f '{{with .State.Health}}{{$l := index .Log 0}}{{len .Log | lt 0}} {{$l.ExitCode}}
    {{json $l.Output}}{{end}}' $N; }

## flags
for f in '--health-cmd true' '--health-cmd true --health-interval 2s --health-timeout 1s
    --health-retries 2 --health-start-period 3s --health-start-interval 1s' '--no-healthcheck' \
    '--no-healthcheck --health-cmd x' '--health-interval 2s' '--health-interval 1us --health-cmd x' \
    '--health-retries -1 --health-cmd x' '--health-interval x' '--health-interval=-1s --health-cmd x'; do
    D create --net none --name $N $f busybox >/dev/null; echo $?
    D inspect -f '{{json .Config.Healthcheck}} {{json .State}}' $N | sed 's/"Started.*//'; D rm $N; done

## healthy, then unhealthy
touch go; slow='until test -e /go; do sleep 0.1; done; echo well'  # it starts for as long as we like
sleep 1.1; S=$(date +%s); D run -d --net none --name $N --health-cmd "$slow; test ! -e /bad" \
    --health-interval 300ms --health-retries 2 busybox sleep 1000 >/dev/null
D ps --format '{{.Status}}' -f name=$N; D cp go $N:/go; until_is healthy
D ps --format '{{.Status}}' -f name=$N; last
D exec $N touch /bad; until_is unhealthy; D ps --format '{{.Status}}' -f name=$N
for h in healthy unhealthy none starting bad; do D ps -qf health=$h -f name=$N | wc -l; done
D exec $N rm /bad; until_is healthy; D inspect -f '{{.State.Health.FailingStreak}}' $N
D pause $N; D ps --format '{{.Status}}' -f name=$N; sleep 1; D unpause $N; sleep 1  # docker hears of it late
D exec $N rm /go; D restart -t 0 $N; state
D stop -t 0 $N
until D ps -a --format '{{.Status}}' -f name=$N | grep Exited; do sleep 0.1; done; sleep 1.1  # docker's ps is late
D events --since $S --until 0s -f container=$N -f event=health_status --format '{{.Action}}' | head -3
D events --since $S --until 0s -f container=$N -f event=exec_start --format '{{.Action}}' | head -1

## the start period, timeouts, and missing commands
D run -d --net none --name $N --health-cmd 'exit 3' --health-interval 30s --health-retries 1 \
    --health-start-period 30s --health-start-interval 300ms busybox sleep 1000 >/dev/null
until last | grep -q 3; do sleep 0.1; done; state; D inspect -f '{{.State.Health.FailingStreak}}' $N
D rm -f $N; D run -d --net none --name $N --health-cmd 'echo x; sleep 50' --health-interval 300ms \
    --health-timeout 2s --health-retries 1 busybox sleep 1000 >/dev/null; until_is unhealthy; last
D rm -f $N; D run -d --net none --name $N --health-cmd nosuch --health-interval 300ms \
    --health-retries 1 busybox sleep 1000 >/dev/null; until_is unhealthy; last

## the image's health check
D create --net none --name $N --health-cmd 'exit 0' --health-interval 300ms --health-retries 7 busybox
D commit $N $N:h >/dev/null; D rm $N; D create --net none --name $N --health-interval 2s $N:h
D inspect -f '{{json .Config.Healthcheck}}' $N; D rm $N; D create --no-healthcheck --net none --name $N $N:h
D inspect -f '{{json .Config.Healthcheck}}' $N; D rm $N; D run -d --net none --name $N $N:h sleep 100
until_is healthy; D rm -f $N; D run -d --no-healthcheck --net none --name $N $N:h sleep 100; sleep 0.5
D inspect -f '{{json .State.Health}}' $N; D rm -f $N; D rmi $N:h >/dev/null; echo $?
