# events: actions and attributes of containers, volumes and networks.
begin() { sleep 1.1; S=$(date +%s); sleep 0.1; }
settle() { sleep 1.1; }  # moments count in whole seconds
told() { D events --since $S --until 0s "$@" | sed -E "s/$N/c/g; s/[0-9a-f]{64}/ID/g; s/^[^ ]+Z //
    s/execDuration=[0-9]+/execDuration=x/"; }

## a container's life
begin; D create --name $N -v /data -l k=v --net none busybox sh -c 'sleep 0.3; exit 3' >/dev/null
D start $N; D wait $N; D rm -v $N >/dev/null; settle; told; told -f type=container --format '{{.Action}}'

## actions on a container
D run -d --net none --name $N busybox sleep 100 >/dev/null; begin
D pause $N; sleep 1; D unpause $N; sleep 1  # or docker, which hears of it late, pauses it again
D exec $N sh -c 'exit 4'; D top $N >/dev/null; D rename $N ${N}x; D kill -s USR1 ${N}x
echo x > x; D cp x ${N}x:/; D cp ${N}x:/x y
D restart -t 0 ${N}x; D stop -t 0 ${N}x; D start ${N}x; D rm -f ${N}x
settle; told -f type=container | grep -v -e stop -e die; told -f event=stop; told -f event=die
told -f event=exec_start --format '{{.Action}}|{{.Status}}|{{.From}}|{{.Scope}}'
told -f type=network --format '{{.Action}} {{.Type}} {{.Actor.Attributes.name}} {{.Actor}}'

## run --rm, attached, and failed starts
begin; D run --rm --net none --name $N busybox true; echo hi | D run -i --net none --name $N busybox cat
D run --name ${N}y --net none busybox nosuch 2>/dev/null; D rm ${N}y >/dev/null; D rm $N >/dev/null
settle; told --filter event=attach --filter event=create --filter event=die --filter event=destroy

## volumes
begin; D volume create --label a=b $N; D volume create $N; D run --rm --net none -v $N:/v:ro busybox true
D volume rm $N; settle; told -f type=volume; told -f volume=$N -f event=destroy --format json |
    sed -E 's/"time(Nano)?":[0-9]+/T/g'

## filters and formats
begin; D create --net none --name $N -l k=v busybox >/dev/null; D rm $N >/dev/null
settle; for f in container=$N container=/$N container=nosuch image=busybox image=busybox:latest label=k \
    label=k=w event=destroy event=dest type=volume scope=local scope=swarm nosuch=x; do
    echo "${f/$N/c} $(told -f $f | wc -l)"; done
told -f event=create --format '{{json .}}' | sed -E 's/"time(Nano)?":[0-9]+/T/g'
told -f event=create --format '{{.Time}} {{.TimeNano}}' | sed -E 's/[0-9]/9/g'
D events --format '{{.Nope}}' --until 0s; echo $?; D events --format '{{' --until 0s; echo $?
D events --since bad; echo $?; D events x; echo $?; D events -f x --until 0s; echo $?

## live events
begin; D events --since $S --until $(($(date +%s) + 6)) -f container=$N --format '{{.Action}}' > out & sleep 1.5
D create --net none --name $N busybox >/dev/null; D rm $N >/dev/null; wait; cat out
D system events --until 0s --since 0s; echo $?
