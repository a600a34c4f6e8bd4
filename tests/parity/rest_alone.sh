# Commands that report on all objects: events of images, system df -v.
# Other tests' images and layers are not to be told of.
{ D builder prune -af; D image prune -f; D images --format '{{.Repository}} {{.ID}}' | while read -r name id; do
    [ "$name" = busybox ] || D rmi -f "$id"; done; } >/dev/null 2>&1
begin() { sleep 1.1; S=$(date +%s); sleep 0.1; }
told() { sleep 1.1; D events --since $S --until 0s "$@" | sed -E "s/$N/c/g; s/[0-9a-f]{64}/ID/g
    s/^[^ ]+Z //; s/execDuration=[0-9]+/execDuration=x/"; }

## events of images
begin; D tag busybox $N:a; D tag busybox $N:b; D rmi $N:a >o; D save -o s.tar $N:b; D rmi $N:b >o
D load -i s.tar >o; D rmi $N:b >o; D create --net none --name $N busybox >o
D commit -c 'LABEL l=v' -m msg $N $N:c >o; D commit $N >o; D export -o e.tar $N
D import e.tar $N:imp >o; D import e.tar >o; D rmi $N:c $N:imp >o; D rm $N >o
D image prune -f >o; told; told -f type=image -f event=delete | wc -l
told -f type=image -f event=tag --format '{{.Status}} {{.Action}} {{.From}} {{.Actor.Attributes.name}}'

## events of attach, resize and prune
begin; D run -dit --net none --name $N busybox sh >o
raw() { until stty -a -F "$(cat tty 2>&1)" 2>/dev/null | grep -q -e -icanon; do sleep 0.1; done; }
(raw; printf '\020\021') | script -qec "tty > tty; stty rows 10 cols 20; $D attach $N" typescript >o
D network create $N >o; D network prune -f >o; D volume prune -f >o; D rm -f $N >o
told

## system df -v
D run -d --net none --name $N -v ${N}v:/v -l a=b busybox sh -c \
    'head -c 100000 /dev/zero > /x; head -c 5000 /dev/zero > /v/x; echo > /v/done; sleep 100' >/dev/null
until D exec $N test -s /v/done; do sleep 0.1; done
D tag busybox $N:x; D commit $N $N:c >/dev/null; D system df -v | sed 's/ *$//'
D system df -v --format json | sed 's/"Mountpoint":"[^"]*"//'
D system df -v --format '{{range .Images}}{{.Repository}} {{.UniqueSize}}{{end}}'
D system df -v --format '{{.Nope}}'; echo $?
D system df -v --format '{{json .Volumes}}' | sed 's/"Mountpoint":"[^"]*"//'
D system df -v --format '{{range .Containers}}{{.Nope}}{{end}}'; echo $?
D rmi $N:x $N:c >/dev/null; D rm -fv $N; D volume rm ${N}v
