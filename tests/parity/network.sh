# Published ports and names.
# alone: `ps` shows all containers of a daemon
# networked

## ports
D run -d --name $N -p 127.0.0.1:$P:80 -p 127.0.0.1:$P:82/udp --expose 99 busybox sleep 100
D port $N; D port $N 80; D port $N 82; echo $?; D port $N 80/xxx; echo $?
D ps --format '{{.Ports}}'; for f in publish=$P publish=80 expose=80 expose=99; do
    D ps -q -f $f | wc -l; done; D run -d --name ${N}b -p $P:80 busybox true; echo $?
D rm ${N}b; D inspect -f '{{json .HostConfig.PortBindings}}' $N; D stop -t 0 $N; D port $N
echo $?; D ps -a --format '{{.Ports}}|'; D rm $N

## forms of -p
for p in 18000-18002:80-82 18005-18009:90 80-81 ':80' x:y 70000:80 80/xxx 18012:80/TCP \
    127.0.0.1::80 a.b:80:80 18000:80-82 '' -1:80; do
    D create --name $N -p "$p" busybox >/dev/null; echo "$p $?"; done
D inspect -f '{{json .HostConfig.PortBindings}}' $N; D rm $N

## names of the machine
D run --rm --hostname a.b.c --domainname foo busybox sh -c 'hostname; tail -1 /etc/hosts'
D run --rm --add-host foo:1.2.3.4 busybox grep foo /etc/hosts
D create --name $N busybox; D inspect -f '{{.HostConfig.NetworkMode}}' $N
D inspect -f '{{json .NetworkSettings.Networks}}' $N; D rm $N
