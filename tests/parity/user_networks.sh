# User-defined networks: names, addresses, reachability, and changes at run time.
# alone: both engines choose subnets of the machine, and `ps` shows all containers of a daemon
# networked
S=10.22$((P % 2)).7; T=10.22$((P % 2)).8
plain() { sed -E 's/10\.22[01]\./10.x./g; s/0a:d[cd]:/0a:dx:/g'; }
web() { D run -d --name ${N}w "$@" busybox sh -c 'mkdir /w; echo hello > /w/index.html
    exec httpd -f -h /w' > /dev/null
    until D exec ${N}w wget -qO /dev/null http://localhost 2> /dev/null; do sleep 0.1; done; }
call() { D exec "$1" timeout 3 wget -qO- "http://$2" 2> /dev/null; echo "call $?"; }

## create, ls, inspect and rm
D network create --label a=b --label c= $N | wc -c
D network ls -f name=$N --format '{{.Name}} {{.Driver}} {{.Scope}} {{.IPv6}} {{.Internal}} {{.Labels}}' |
    tr ', ' '\n\n' | sort
for f in type=custom type=builtin driver=bridge label=a label=a=c dangling=true scope=local; do
    D network ls -q -f name=$N -f $f | wc -l; done; D network ls -f type=x; echo $?
D network inspect -f '{{.Name}} {{.Driver}} {{.Internal}} {{.Attachable}} {{json .Labels}}
    {{json .Options}} {{json .Containers}} {{json .IPAM.Options}}' $N
D network inspect -f '{{range .IPAM.Config}}{{.Subnet}} {{.Gateway}}{{end}}' $N | grep -c '^172.*/16 172.*1$'
D network create $N; echo $?; D network rm $N ${N}x; echo $?; D network rm -f $N; echo $?
for n in bridge host none; do D network rm $n; echo $?; D network create $n; echo $?; done
D network inspect $N; echo $?; D network create; echo $?; D network create a b; echo $?
D network create ''; echo $?; D network rm; echo $?; D network ls x; echo $?

## subnet, gateway and range
D network create --subnet $S.0/24 --gateway $S.9 --ip-range $S.64/26 --aux-address x=$S.65 $N > /dev/null
D network inspect -f '{{json .IPAM.Config}}' $N | plain
for i in 1 2; do D run -d --name ${N}a --network $N busybox sleep 100 > /dev/null
    D exec ${N}a sh -c 'ip r; ip a show eth0' | grep -E 'inet|default|src' | plain; D rm -f ${N}a; done
D run -d --name ${N}a --network $N --ip $S.200 busybox sleep 100 > /dev/null
D exec ${N}a ip a show eth0 | grep -E 'inet|ether' | plain; D rm -f ${N}a
for o in "--subnet $S.128/25" "--subnet $S.1/24" "--gateway $T.1" "--ip-range $T.0/24" \
    "--subnet foo" "--subnet $T.0/24 --gateway $S.1" "--subnet $T.0/24 --ip-range $S.0/25" \
    "-d nosuch" "-d host" "-d null" "--subnet $T.0/24 --subnet $T.0/25"; do
    D network create $o ${N}x; echo $?; done; D network rm $N

## requested addresses
D network create --subnet $S.0/24 $N > /dev/null; D network create ${N}x > /dev/null
D run -d --name ${N}a --network $N --ip $S.50 busybox sleep 100 > /dev/null
D run --rm --network $N --ip $S.50 busybox true; echo $?
D run --rm --network $N --ip $T.50 busybox true; echo $?
D run --rm --network $N --ip $S.1 busybox true; echo $?
D run --rm --network ${N}x --ip $S.51 busybox true; echo $?
D run --rm --network bridge --ip $S.51 busybox true; echo $?
D run --rm --ip 1.2.3.4.5 busybox true; echo $?; D run --rm --network nosuch busybox true; echo $?
D inspect -f '{{json .NetworkSettings.Networks}}' ${N}a | sed "s/$N/N/g" | plain |
    sed -E 's/"MacAddress":"[^"]*50*32"/MAC/'
D stop -t 0 ${N}a; D inspect -f '{{json .NetworkSettings.Networks}}' ${N}a | sed "s/$N/N/g" | plain
D start ${N}a > /dev/null; D exec ${N}a hostname -i | plain
D rm -f ${N}a; D network rm $N ${N}x

## containers find each other by name
D network create $N > /dev/null; D network create ${N}x > /dev/null
id=$(D run -d --name ${N}a --network $N --network-alias one --network-alias two -h hosty busybox sleep 100)
D run -d --name ${N}b --network $N --network-alias two busybox sleep 100 > /dev/null
D run -d --name ${N}c --network ${N}x busybox sleep 100 > /dev/null
for n in ${N}a one two hosty ${id:0:12} ${N}a.$N one.$N ONE ${N}b; do
    D exec ${N}b ping -c 1 -W 2 $n > /dev/null; echo $?; done
for n in ${N}c ${N}c.${N}x; do D exec ${N}b timeout 3 ping -c 1 -W 1 $n > /dev/null 2>&1; [ $? -ne 0 ]; echo $?; done
D exec ${N}b nslookup two | grep -c 'Address: 172'
D exec ${N}b sh -c 'nslookup $(ping -c 1 one | sed -n "s/.*(\(172[^)]*\)).*/\1/p")' | grep -o "name = .*" | sed "s/$N/N/g"
D exec ${N}b nslookup -type=aaaa one | grep -c -e Address: -e NXDOMAIN
D rename ${N}a ${N}new; D exec ${N}b ping -c 1 ${N}new > /dev/null; echo $?
D inspect -f '{{range .NetworkSettings.Networks}}{{.DNSNames}} {{.Aliases}}{{end}}' ${N}new | sed "s/$N/N/g"
D exec ${N}b grep -E '^(nameserver|options|search)' /etc/resolv.conf
D run --rm --network $N --dns 9.9.9.9 --dns-search a.b --dns-option ndots:3 busybox \
    grep -E '^(nameserver|options|search)' /etc/resolv.conf
D rm -f ${N}new ${N}b ${N}c; D network rm $N ${N}x

## internal networks
D network create --internal --subnet $S.0/24 $N > /dev/null
D run -d --name ${N}a --network $N -p $P:80 busybox sleep 100 > /dev/null; D port ${N}a; echo $?
D exec ${N}a ip r | plain; D run --rm --network $N busybox ping -c 1 ${N}a > /dev/null; echo $?
D exec ${N}a nslookup nosuch.example | grep -o SERVFAIL | head -1
D inspect -f '{{json .NetworkSettings.Ports}} {{range .NetworkSettings.Networks}}{{.Gateway}}|{{end}}' ${N}a
D network inspect -f '{{.Internal}}' $N; D rm -f ${N}a; D network rm $N

## published ports and reachability
D network create --subnet $S.0/24 $N > /dev/null; D network create --subnet $T.0/24 ${N}x > /dev/null
web --network $N -p $P:80
D run -d --name ${N}o --network ${N}x busybox sleep 100 > /dev/null
D run -d --name ${N}d busybox sleep 100 > /dev/null
D run -d --name ${N}n --network $N busybox sleep 100 > /dev/null
curl -s localhost:$P; call ${N}n ${N}w
for c in o d; do call $N$c $S.2; call $N$c $S.1:$P; done; call ${N}n $S.1:$P
D ps --format '{{.Names}} {{.Networks}} {{.Ports}}' | sed "s/$N/N/g"
D rm -f ${N}w ${N}o ${N}d ${N}n; D network rm $N ${N}x

## connect and disconnect
D network create --subnet $S.0/24 $N > /dev/null; D network create --subnet $T.0/24 ${N}x > /dev/null
web --network $N -p $P:80; D run -d --name ${N}d busybox sleep 100 > /dev/null
D network connect --ip $T.77 --alias other ${N}x ${N}w; echo $?; D network connect ${N}x ${N}d; echo $?
D network connect ${N}x ${N}d; echo $?; call ${N}d other; curl -s localhost:$P
D exec ${N}w sh -c 'ip r; grep 10.22 /etc/hosts | cut -f 1' | plain
D exec ${N}d grep -E '^(nameserver|options)' /etc/resolv.conf
D network disconnect $N ${N}w; echo $?; D network disconnect $N ${N}w; echo $?
D exec ${N}w ip r | plain; curl -s localhost:$P; D port ${N}w
D network disconnect ${N}x ${N}w; D exec ${N}w ip r; D port ${N}w
D inspect -f '{{json .NetworkSettings.Networks}}' ${N}w; curl -s localhost:$P; echo $?
D network connect ${N}x ${N}w; D exec ${N}w sh -c 'ip r' | plain; curl -s localhost:$P
D network connect nosuch ${N}w; echo $?; D network connect $N nosuch; echo $?
D network disconnect nosuch ${N}w; echo $?; D network connect $N; echo $?
D network connect host ${N}w; echo $?; D network connect none ${N}w; echo $?
D run -d --name ${N}j --network container:${N}w busybox sleep 100 > /dev/null
D network connect $N ${N}j; echo $?; D exec ${N}j ping -c 1 other > /dev/null 2>&1; [ $? -ne 0 ]; echo $?
D network rm ${N}x; echo $?; D rm -f ${N}j ${N}d; D stop -t 0 ${N}w
D network connect $N ${N}w; D network disconnect ${N}x ${N}w; D start ${N}w
D inspect -f '{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{end}}' ${N}w | sed "s/$N/N/g"
D rm -f ${N}w; D network rm $N ${N}x

## several networks at once
D network create --subnet $S.0/24 $N > /dev/null; D network create --subnet $T.0/24 ${N}x > /dev/null
D run --rm --network ${N}x --network $N busybox sh -c 'ip r' | plain
D run --rm --network name=$N,alias=q,ip=$S.33 --network name=${N}x,ip=$T.44 busybox sh -c 'ping -c 1 q; ip r' |
    grep -E '^PING|default|src' | plain
D run --rm --network $N --network host busybox true; echo $?
D run --rm --network $N --network $N busybox true; echo $?
D run --rm --network name=$N,foo=x busybox true; echo $?
D create --name ${N}a --network $N busybox true > /dev/null; D network rm $N; echo $?
D start ${N}a; echo $?; D inspect -f '{{.State.Status}} {{.State.Error}}' ${N}a | sed "s/$N/N/g"
D network create --subnet $S.0/24 $N > /dev/null; D start -a ${N}a; echo $?
D rm ${N}a; D network rm $N ${N}x

## options of the driver
D network create -o com.docker.network.driver.mtu=1400 -o com.docker.network.bridge.name=pb$P \
    -o com.docker.network.bridge.enable_ip_masquerade=false $N > /dev/null
D network inspect -f '{{json .Options}}' $N | sed s/$P/P/
D run --rm --network $N busybox cat /sys/class/net/eth0/mtu
ip -o link show pb$P | grep -o 'mtu [0-9]*'; D network rm $N; ip link show pb$P 2> /dev/null; echo $?
D network create -o com.docker.network.bridge.host_binding_ipv4=127.0.0.1 $N > /dev/null
D network create ${N}x > /dev/null; web --network $N -p $P:80; D port ${N}w; curl -s localhost:$P
D network connect ${N}x ${N}w; D network disconnect $N ${N}w; D port ${N}w; curl -s localhost:$P
D rm -f ${N}w; D network rm $N ${N}x

## prune
D network create --label keep=1 ${N}k > /dev/null; D network create ${N}a > /dev/null
D network create ${N}b > /dev/null; D run -d --name ${N}c --network ${N}b busybox sleep 100 > /dev/null
D network prune -f --filter label!=keep --filter until=1h | sed "s/$N/N/g"; sleep 1.5
D network prune -f --filter label!=keep --filter until=1s | sed "s/$N/N/g"
D rm -f ${N}c; D network prune -f | sed "s/$N/N/g" | sort; echo n | D network prune; echo $?
