# update: which limits change, errors, and the kernel's values.
has() { D inspect -f '{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.MemoryReservation}}
        {{.HostConfig.CpuShares}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuPeriod}}
        {{.HostConfig.CpuQuota}} {{.HostConfig.CpusetCpus}} {{json .HostConfig.PidsLimit}}
        {{.HostConfig.RestartPolicy}}' $N | tr -d '\n'; echo; }
changed() { D update "$@" $N; echo "$? $*"; has; }
kernel() { D exec $N sh -c 'cd /sys/fs/cgroup && cat */memory.limit_in_bytes */cpu.cfs_quota_us \
    */cpu.shares */cpuset.cpus */pids.max */memory.soft_limit_in_bytes' 2>/dev/null | sort -u; }

## limits of a running container
D run -d --net none --name $N busybox sleep 100 >/dev/null; D update $N; echo $?
for m in 100m '300m --memory-swap 500m' 600m; do changed -m $m; done; changed --memory-swap -1
changed -m 1m; changed --cpus 0.5; changed --cpu-quota 50000; changed --cpu-shares 512
changed --cpuset-cpus 0; changed --cpuset-cpus 99; changed --memory-reservation 20m
changed --cpu-period 20000 --cpu-quota 10000; kernel; changed --pids-limit 50; kernel
changed --pids-limit -1; changed --pids-limit 0; changed -m 30m --memory-swap 40m; kernel
D stop -t 0 $N >/dev/null; changed --cpu-quota 20000; changed --cpus 1.5 --restart on-failure:3
D start $N; kernel; D update --cpus 1 $N nosuch; echo $?

## policies and mistakes
D run -d --net none --name $N busybox sleep 100 >/dev/null
for p in always no unless-stopped on-failure:2 bad on-failure:x always:3; do changed --restart $p; done
D update; echo $?; D update --cpus x $N; echo $?; D container update nosuch -m 10m; echo $?
D create --rm --name ${N}r --net none busybox; D update --restart always ${N}r; echo $?
D rm ${N}r; D update --restart always $N; D exec $N kill 1; D exec $N kill -9 -1
until [ "$(D inspect -f '{{.RestartCount}}' $N)" = 0 ]; do sleep 0.1; done; D update --restart no $N
D kill $N; D inspect -f '{{.State.Running}}' $N
