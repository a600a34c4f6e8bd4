# prune: which containers and volumes are removed, and the output.
pruned() { "$@"; echo $?; }

## containers
for l in a=1 b=2 c; do D create --net none -l $l --name p${l%=*} busybox >/dev/null; done
D run --net none --name pw busybox sh -c 'head -c 5000 /dev/zero > /f'
D run -d --net none --name pr busybox sleep 100 >/dev/null
pruned D container prune -f --filter label=nosuch; pruned D container prune -f --filter label=a
pruned D container prune -f --filter label!=b=2 --filter label!=c; D ps -a --format '{{.Names}}'
pruned D container prune -f --filter until=1h; pruned D container prune -f --filter until=bad
pruned D container prune -f --filter nosuch=1; pruned D container prune -f --filter x
echo n | D container prune; echo $?; echo y | D container prune; echo $?; D ps -a --format '{{.Names}}'
pruned D container prune -f --filter until=0s; D container prune -f </dev/null; D container prune x; echo $?
D pause pr; pruned D container prune -f; D rm -f pr

## volumes
D volume create --label keep=1 v1; D volume create --label x v2; D volume create >/dev/null
D create --net none -v v3:/v -v /anon --name $N busybox >/dev/null; D volume create v4
pruned D volume prune -f --filter label=nosuch; pruned D volume prune -f | grep -v '^[0-9a-f]\{64\}$'
pruned D volume prune -af --filter label=x; pruned D volume prune -f --filter all=true --filter label!=keep
D volume ls -q | grep '^v'; pruned D volume prune -f --filter nosuch=1; pruned D volume prune -f --filter all=x
D run --rm --net none -v v5:/v busybox sh -c 'head -c 3000 /dev/zero > /v/f'
echo n | D volume prune -a; echo $?; pruned D volume prune -a -f --filter all=true
pruned D volume prune -af | sort; D rm -v $N >/dev/null; D volume ls -q; D volume prune -f --filter label!=x -a
D volume create -o type=tmpfs -o device=tmpfs v6; pruned D volume prune -af; D volume ls -q; D volume rm v6
