"""Faults of processes: a stopped server, a missing init, a limit that is too low or missing."""

from __future__ import annotations

from minidock.teach.lab.fault.fault import Fault
from minidock.teach.lab.fault.setup_commands import PIDS, WORKER

_WEB_IS_SILENT = ("here", "other-host", "by-name", "itself", "inside")
_WORKER_AGAIN = f"minidock rm -f lab-worker\n{WORKER}"
_UPDATE = "minidock update --memory 32m --memory-swap 32m lab-worker"

FAULTS = (
    Fault(
        name="stopped-server",
        part="server",
        breaks=_WEB_IS_SILENT,
        inject="kill -STOP $WEB_PID",
        fix="kill -CONT $WEB_PID",
        cause="httpd was stopped by a signal (state T). The kernel still accepts connections "
        "for it",
        look=("minidock packet 8081", "minidock top lab-web -o pid,stat,args"),
    ),
    Fault(
        name="frozen-cgroup",
        part="freezer",
        breaks=_WEB_IS_SILENT,
        inject="echo $FROZEN > $WEB_FREEZER",
        fix="echo $THAWED > $WEB_FREEZER",
        cause="lab-web's cgroup was frozen without `minidock pause`, so minidock calls it running",
        look=("minidock where lab-web", "cat $WEB_FREEZER"),
    ),
    Fault(
        name="nobody-reaps",
        part="init",
        breaks=("zombies",),
        inject="minidock rm -f lab-worker\n" + WORKER.replace(" --init", ""),
        fix=_WORKER_AGAIN,
        cause="lab-worker ran without --init: its PID 1 is a sleep, which does not reap children",
        look=("minidock exec lab-worker ps", "minidock inspect lab-worker"),
    ),
    Fault(
        name="too-little-memory",
        part="memory",
        breaks=("job", "limits"),
        inject="echo $((8 << 20)) > $WORKER_MEMORY",
        fix=_UPDATE,
        cause="lab-worker's cgroup was limited to 8 MB, and its job needs 16: the kernel killed it",
        look=("minidock stats --no-stream lab-worker", "minidock events --since 5m --until 0s",
              "minidock where lab-worker"),
    ),
    Fault(
        name="too-few-processes",
        part="pids",
        breaks=("job", "limits"),
        inject="echo 4 > $WORKER_PIDS",
        fix=f"minidock update --pids-limit {PIDS} lab-worker",
        cause="lab-worker's cgroup was limited to 4 processes: fork(2) failed with EAGAIN",
        look=("minidock where lab-worker", "cat $WORKER_PIDS"),
    ),
    Fault(
        name="hardly-any-processor",
        part="cpu",
        breaks=("job",),
        inject="echo $CPU_SLOW > $WORKER_CPU",
        fix="echo $CPU_FREE > $WORKER_CPU",
        cause="lab-worker's cgroup got 3 ms of processor time in 100",
        look=("minidock where lab-worker", "cat $(dirname $WORKER_CPU)/cpu.stat"),
    ),
    Fault(
        name="limit-not-in-force",
        part="memory controller",
        breaks=("limits",),
        inject="""
group=$(dirname $WORKER_MEMORY)
if [ $CGROUP = 2 ]; then
    echo -memory > $(dirname $group)/cgroup.subtree_control
else
    for pid in $(cat $group/cgroup.procs); do echo $pid > $(dirname $group)/cgroup.procs; done
fi
""",
        fix=f"""
group=$(dirname $WORKER_MEMORY)
if [ $CGROUP = 2 ]; then
    echo +memory > $(dirname $group)/cgroup.subtree_control
    {_UPDATE}
else
    for pid in $(minidock top lab-worker -o pid | tail -n +2); do
        echo $pid > $group/cgroup.procs
    done
fi
""",
        cause="lab-worker had a limit that was not in force. In cgroup v2 the memory controller "
        "was not enabled for its cgroup (cgroup.subtree_control of the parent); in v1 its "
        "processes were not in the directory of the memory tree that has the limit",
        look=("minidock where lab-worker", "cat /proc/$WORKER_PID/cgroup"),
        undo="""
if [ $CGROUP = 2 ]; then
    above=$(dirname $(dirname $WORKER_MEMORY))
    [ ! -d $above ] || echo +memory > $above/cgroup.subtree_control
fi
""",
        shared="in cgroup v2 all containers of this store lose their memory limits then",
    ),
)  # fmt: skip
