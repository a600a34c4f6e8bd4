# system df and system prune: disk usage, and what is removed.
# Other tests' images and layers are not to be counted.
{ D builder prune -af; D image prune -f; D images --format '{{.Repository}} {{.ID}}' | while read -r name id; do
    [ "$name" = busybox ] || D rmi -f "$id"; done; } >/dev/null 2>&1

## df
D system df; D run -d --name $N --net none -v $N:/v busybox sh -c \
    'head -c 12345 /dev/zero >/f; head -c 5555 /dev/zero >/v/x; touch /done; sleep 1000' >/dev/null
until D exec $N test -e /done; do sleep 0.1; done; D volume create ${N}e >/dev/null
D run --name ${N}b --net none busybox sh -c 'head -c 7000 /dev/zero >/f'; D commit ${N}b im2 >/dev/null
D tag im2 im3; D system df; D system df --format '{{json .}}'; D system df --format '{{.Type}} {{.Size}}'
D system df --format 'table {{.Type}}\t{{.Reclaimable}}'; D system df x; echo $?
D system df --format '{{.Nope}}'; echo $?; D rm -f $N ${N}b; D rmi im2 im3 >/dev/null; D volume rm $N ${N}e

## the confirmation of prune
echo n | D system prune; echo $?; echo n | D system prune -a --volumes; echo n | D system prune --filter label=a
D system prune -f --volumes --filter until=1h; echo $?; D system prune -f --filter nosuch=1; echo $?
D system prune -f --filter until=bad; echo $?; D system prune x; echo $?

## prune
D create --net none --name $N -v /anon -v $N:/v -l a busybox true >/dev/null
D create --net none --name ${N}k -l b busybox >/dev/null; D commit ${N}k dang:1 >/dev/null
D run --name ${N}c --net none busybox sh -c 'head -c 7000 /dev/zero >/f'; D commit ${N}c dang:1 >/dev/null
D system prune -f --filter label=b; D system prune -f --filter until=1h; D ps -aq | wc -l
D system prune -f; D volume ls -q | wc -l; D volume prune -f >/dev/null
D create --net none --name $N -v /anon -v $N:/v busybox true >/dev/null; D rm $N >/dev/null
D system prune -f --volumes; D volume ls -q; D system prune -af --filter label=x; D images -q | wc -l
D volume rm $N; D rmi dang:1 >/dev/null
