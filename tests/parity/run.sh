# run and create: what a flag does, and how a command ends.

## exit codes
for c in 'exit 3' 'kill -9 $$' 'kill -TERM $$'; do
    D run --rm --net none busybox sh -c "$c"; echo $?; done
for c in nosuch /nosuch /etc /etc/passwd ''; do
    D run --rm --net none busybox "$c"; echo $?; done
D run --rm --nosuchflag busybox; echo $?; D run; echo $?
D run --rm --net none --init busybox sh -c 'kill -TERM $$'; echo $?

## a program that the kernel refuses
D run --net none --name $N busybox sh -c \
    'printf "#!/no/such\n" > /s; printf "echo hi" > /n; echo >/x; chmod +x /s /n'
D commit $N $N:img >/dev/null
for c in /s /n /x; do D run --rm --net none $N:img $c 2>err; echo $?; head -1 err |
    grep -v -e docker: -e minidock:; done
D run -d --net none --name ${N}b $N:img /n; D wait ${N}b; D logs ${N}b 2>&1 | head -1
D inspect -f '{{.State.Status}} {{.State.ExitCode}}' ${N}b
D run -d --net none --name ${N}c $N:img sleep 100
for c in /s /n; do D exec ${N}c $c 2>/dev/null; echo $?; done
D rm -f $N ${N}b ${N}c; D rmi $N:img >/dev/null; echo $?

## users
for u in nosuch 1000 1000:1001 nobody nobody:nosuch :0 root:nogroup 4294967295 -1; do
    echo "$u"; D run --rm --net none -u $u busybox id; echo $?; done
D run --rm --net none --group-add 77 --group-add tty busybox id

## working directories
D run --rm --net none -w /a/b/c busybox sh -c 'pwd; ls -ld /a/b/c | cut -c1-10'
for w in rel /etc/passwd '' /../../tmp; do D run --rm --net none -w "$w" busybox pwd
    echo $?; done
D run --rm --net none -u 1000 -w /new busybox sh -c 'pwd; ls -lnd /new | cut -d" " -f1,3'
D run --net none -w /a/b -v /vol --name $N busybox; D diff $N | sort; D rm -v $N

## variables
D run --rm --net none -h h busybox env
D run --rm --net none -h h -e B=2 -e A -e HOSTNAME -e B=3 busybox env
D run --rm --net none -h h -t busybox env
D run --rm --net none -h h -u nobody -e EMPTY= -e A=b=c busybox env | sort
XX=host D run --rm --net none -h h -e XX -e NOT_SET busybox env
D run --rm --net none -e =x busybox env; echo $?
D create --net none -e A=1 -e A=2 --name $N busybox
D inspect -f '{{json .Config.Env}}' $N; D rm $N

## env-file
printf '# c\nA=1\n  B=2\nC\n # c\nD=x # y\nE="q"\n\nF=\nG= lead\n\n' > ef
D run --rm --net none -h h --env-file ef busybox env; echo $?
printf 'A B=1\n' > e2; printf '=1\n' > e3; printf '\xef\xbb\xbfBOM=1\r\n' > e4
printf 'a\xff=1\n' > e5
for f in e2 e3 e4 e5 nofile; do
    D run --rm --net none -h h --env-file $f busybox env; echo $?; done

## cidfile and names
D run --cidfile cid --net none --rm busybox true; wc -c < cid
D run --cidfile cid --net none --rm busybox true; echo $?
D run --cidfile cid2 --net none --rm busybox nosuch; ls
D create --name $N --net none busybox | wc -c; D create --name $N busybox; echo $?
for n in a -x a/b 'a b' aa:b .x; do D run --name "$n" --net none busybox; echo $?; done
D rename $N $N; echo $?; D rename $N ''; echo $?; D rename $N ${N}x; D rm ${N}x
D rm $(D create --name '' --net none busybox) | wc -c

## entrypoints and short flags
D run --rm --net none --entrypoint /bin/echo busybox a b
D run --rm --net none --entrypoint '' busybox echo x
D run --rm --net none --entrypoint '' busybox; echo $?
D run --rm --net none busybox echo -d --rm -x
D run -dit --net none --name $N busybox sh
D inspect -f '{{.Config.Tty}} {{.Config.OpenStdin}} {{.Config.StdinOnce}}' $N; D rm -f $N
D run -d --net none busybox nosuch | wc -c; D rm $(D ps -aq -n 1) | wc -c
D run -it --net none busybox true; echo $?

## limits
for f in '--cpuset-cpus 99' '--cpuset-cpus x' '--cpus 99' '--cpus x' '-m 5m' '-m x' \
    '-m 99999999999999999999' '-m 32m --memory-swap 16m' '--memory-swap 64m' \
    '--ulimit nofile=200:100' '--ulimit bad=1' '--shm-size x'; do
    D create --net none --name $N $f busybox; echo "$f $?"; done
D create --net none --name $N -m 32m --pids-limit -1 busybox
D inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}}' $N; D rm $N
D run --rm --net none --ulimit nofile=100:200 busybox sh -c 'ulimit -Sn; ulimit -Hn'
D run --rm --net none --shm-size 1m busybox df -k /dev/shm | awk '{print $2}'
D run --rm --net none --cpuset-cpus 0 busybox grep Cpus_allowed_list /proc/self/status

## out of memory
D run --name $N --net none -m 16m --memory-swap 16m busybox \
    sh -c 'x=a; while :; do x=$x$x; done'; echo $?
D inspect -f '{{.State.ExitCode}}' $N; D rm $N

## capabilities and security options
for f in -i '--cap-add NET_ADMIN' '--cap-drop ALL' '--cap-drop all --cap-add chown' \
    '--cap-add ALL --cap-drop CHOWN' --privileged '-u 1000' '-u 1000 --cap-add NET_RAW' \
    '--security-opt no-new-privileges' '--security-opt seccomp=unconfined' \
    '--cap-add NOSUCH' '--security-opt bad' '--security-opt seccomp=/nosuch'; do
    echo "$f"; D run --rm --net none $f busybox grep -E 'Cap|NoNew|Seccomp' \
        /proc/self/status; echo $?; done

## tmpfs, read-only and devices
D run --rm --net none --read-only busybox touch /f; echo $?
D run --rm --net none --read-only --tmpfs /tmp busybox sh -c 'touch /tmp/f && echo ok'
D run --rm --net none --tmpfs /t:size=1m,mode=700 busybox sh -c 'mount | grep " /t "'
D run --rm --net none --tmpfs rel busybox true; echo $?
D run --rm --net none --device /dev/null:/dev/zz:r busybox ls -l /dev/zz | cut -c1-10
D run --rm --net none --device /dev/null:/dev/zz:bad busybox true; echo $?
D run --rm --net none busybox ls -l /dev | awk '{print $1,$NF}' | grep -v total | sort

## missing devices
for f in /dev/nope /etc/passwd /dev/nope:/dev/x:r; do
    D run --name $N --net none --device $f busybox true; echo $?
    D inspect -f '{{.State.Status}} {{.State.ExitCode}}' $N; D start $N; echo $?
    D rm $N; D run --rm --net none --device $f busybox true; echo $?; done

## volumes
D run --rm --net none -v $N:/etc busybox sh -c 'ls /etc/hosts; echo x > /etc/new'
D run --rm --net none -v $N:/x busybox cat /x/new
D run --rm --net none -v $N:/x:ro busybox touch /x/f; echo $?
for v in $N:/etc:bad $N:rel /a:/b:/c:ro '' ../x:/y; do
    D run --rm --net none -v "$v" busybox true; echo $?; done
mkdir d; touch d/here; D run --rm --net none -v ./d:/y busybox ls /y
D run --rm --net none -v $PWD/new:/y busybox true; ls -d new
D run --rm --net none --mount type=bind,src=$PWD/nosuch,dst=/y busybox true; echo $?
D run -d -v /data --net none --name $N busybox sleep 100; D rm -f $N
D volume ls -qf dangling=true | wc -l; D volume prune -f >/dev/null; D volume rm $N
D run --rm -v /data --net none busybox true; D volume ls -q

## labels and host names
D create --net none --name $N -l a -l b= -l c=d=e -l "n=a
b" busybox; D inspect -f '{{json .Config.Labels}}' $N; D rm $N
for l in '' =x 'x y=z'; do D create -l "$l" busybox; echo $?; done
printf '# c\nfa=1\nfb\n' > lf; D create --label-file lf --net none --name $N busybox
D inspect -f '{{json .Config.Labels}}' $N
D run --rm --network container:$N -h x busybox true; echo $?; D rm $N
D run --rm --net none --add-host foo:bad busybox true; echo $?
D run --rm --net none --dns bad busybox true; echo $?

## --init
D run -d --init --net none --name $N busybox sleep 100; D stop $N
D inspect -f '{{.State.ExitCode}} {{.HostConfig.Init}} {{.Path}}' $N; D rm $N
D run --rm --init --net none busybox sh -c \
    'cat /proc/1/comm; (sleep 0.1 &); sleep 0.4; ps -o stat | grep -c ^Z'

## streams
echo hello | D run -i --rm --net none busybox cat
echo hello | D run --rm --net none busybox cat
head -c 5000000 /dev/zero | D run -i --rm --net none busybox wc -c
D run --rm --net none busybox sh -c 'printf "\000\377\n"' | od -c
D run --rm --net none busybox sh -c 'yes | head -c 5000000' | head -1
D run --rm --net none -a stderr busybox sh -c 'echo o; echo e >&2' 2>&1
D run --rm --net none -a bad busybox true; echo $?
D run -t --rm --net none busybox echo hi | od -c
