"""Faults of files: layers and their order, mounts, propagation, volumes, /proc and /dev."""

from __future__ import annotations

from minidock.teach.lab.fault.fault import Fault
from minidock.teach.lab.fault.setup_commands import USER, WEB, WORKER, image_commands

_WEB_AGAIN = f"minidock rm -f lab-web\n{WEB}"
_WORKER_GONE = "minidock rm -f lab-worker\n"
_WORKER_AGAIN = _WORKER_GONE + WORKER
_IN_WORKER = "nsenter -t $WORKER_PID -m"
_ALL_OF_WORKER = (
    "orders", "drafts", "apart", "job", "zombies", "limits", "ps", "null", "secrets",
)  # fmt: skip

LAYERS = (
    Fault(
        name="layers-in-wrong-order",
        part="layers",
        breaks=("season",),
        inject="\n".join((*image_commands("season", "shop"), _WEB_AGAIN)),
        fix="\n".join((*image_commands("shop", "season"), _WEB_AGAIN)),
        cause="the layers of image lab-shop were in the wrong order, and so were the directories "
        "in overlayfs's lowerdir: the old page lay over the new one",
        look=(
            "minidock where lab-web:/srv/index.html",
            "minidock history lab-shop",
            "minidock layers lab-shop",
        ),
    ),
    Fault(
        name="hidden-by-a-whiteout",
        part="upper",
        breaks=("season",),
        inject="minidock exec lab-web rm /srv/prices",
        fix="""
minidock stop -t 0 lab-web
rm -f $WEB_HOME/upper/srv/prices
minidock start lab-web
""",
        cause="/srv/prices had been deleted in lab-web: a whiteout in its upper directory hid "
        "the image's file",
        look=("minidock diff lab-web", "minidock where lab-web:/srv/prices"),
    ),
    Fault(
        name="work-of-stone",
        part="work",
        breaks=("notes",),
        inject="""
minidock stop -t 0 lab-client
chattr +i $CLIENT_HOME/work
minidock start lab-client
""",
        fix="""
chattr -i $CLIENT_HOME/work
minidock restart -t 0 lab-client
""",
        cause="overlayfs could not write into lab-client's work directory (it was immutable, "
        "chattr +i), and mounted the root read-only, as it does then",
        look=("minidock where lab-client", "lsattr -d $CLIENT_HOME/work", "dmesg"),
    ),
    Fault(
        name="full-layer",
        part="space",
        breaks=("drafts",),
        inject="minidock exec lab-worker sh -c 'cat /dev/zero > /var/core || true'",
        fix="minidock exec lab-worker rm -f /var/core",
        cause="lab-worker's own layer, which may have 8 MB, was full of a forgotten /var/core",
        look=("minidock diff lab-worker", "minidock ps -s", "minidock exec lab-worker df /"),
    ),
    Fault(
        name="no-such-interpreter",
        part="worker",
        breaks=_ALL_OF_WORKER,
        inject="""
minidock exec lab-worker sed -i '1s,/bin/sh,/bin/bash,' /shop/worker
minidock restart -t 0 lab-worker || true
minidock wait lab-worker
""",
        fix=_WORKER_AGAIN,
        cause='/shop/worker began with #!/bin/bash, and the image has no bash: "not found" is '
        "what the kernel says of the interpreter",
        look=("minidock ps -a", "minidock logs lab-worker", "minidock diff lab-worker"),
    ),
    Fault(
        name="not-executable",
        part="worker",
        breaks=_ALL_OF_WORKER,
        inject="""
minidock exec lab-worker chmod a-x /shop/worker
minidock restart -t 0 lab-worker || true
minidock wait lab-worker
""",
        fix=_WORKER_AGAIN,
        cause="/shop/worker had lost its x bits: execve(2) said EACCES",
        look=("minidock ps -a", "minidock logs lab-worker", "minidock diff lab-worker"),
    ),
)

MOUNTS = (
    Fault(
        name="volume-covered",
        part="volume",
        breaks=("orders",),
        inject=f"{_IN_WORKER} mount -t tmpfs -o mode=777 tmpfs /orders",
        fix=f"! grep -q ' /orders .* - tmpfs ' /proc/$WORKER_PID/mountinfo ||\n"
        f"    {_IN_WORKER} umount /orders",
        cause="a tmpfs was mounted over /orders in lab-worker: what was written went into memory, "
        "not into the volume below",
        look=("minidock exec lab-worker mount", "minidock where lab-worker"),
    ),
    Fault(
        name="volume-of-root",
        part="volume's owner",
        breaks=("orders",),
        inject="chown 0:0 $ORDERS",
        fix=f"chown {USER}:{USER} $ORDERS",
        cause="volume lab-orders belonged to root, and the worker's user may not write there",
        look=("minidock where lab-orders", "minidock exec lab-worker ls -ld /orders"),
    ),
    Fault(
        name="volume-read-only",
        part="worker's volume",
        breaks=("orders",),
        inject=_WORKER_GONE + WORKER.replace(":/orders", ":/orders:ro"),
        fix=_WORKER_AGAIN,
        cause="lab-worker was started with lab-orders:/orders:ro",
        look=("minidock inspect lab-worker", "minidock exec lab-worker mount"),
    ),
    Fault(
        name="another-volume",
        part="worker's volume",
        breaks=("orders",),
        inject=_WORKER_GONE
        + WORKER.replace("lab-orders:/orders", "lab-order:/orders")
        + "\nchown --reference=$ORDERS $ORDERS/../../lab-order/_data",
        fix=_WORKER_AGAIN,
        cause="lab-worker was started with --volume lab-order:/orders; that volume did not "
        "exist, and was created",
        look=("minidock volume ls", "minidock where lab-worker"),
    ),
    Fault(
        name="shared-propagation",
        part="propagation",
        breaks=("apart",),
        inject=_WORKER_GONE + WORKER.replace("dst=/disk", "dst=/disk,bind-propagation=rshared"),
        fix=_WORKER_AGAIN,
        cause="lab-worker had /disk with bind-propagation=rshared: a mount in one of the two "
        "namespaces is then a mount in the other",
        look=("minidock inspect lab-worker", "grep shared: /proc/$WORKER_PID/mountinfo"),
    ),
    Fault(
        name="no-proc",
        part="proc",
        breaks=("ps",),
        inject=f"{_IN_WORKER} umount -l /proc",
        fix="minidock restart -t 0 lab-worker",
        cause="nothing was mounted at /proc in lab-worker. (After mounting it manually, mask "
        "/proc/keys and the other masked paths again.)",
        look=("minidock exec lab-worker mount", "minidock exec lab-worker ls /proc"),
    ),
    Fault(
        name="mask-gone",
        part="mask",
        breaks=("secrets",),
        inject=f"for path in /proc/keys /proc/timer_list; do\n"
        f"    [ ! -e $path ] || {_IN_WORKER} umount $path\ndone",
        fix="minidock restart -t 0 lab-worker",
        cause="the masks over /proc/keys and /proc/timer_list were unmounted in lab-worker: these "
        "files show the whole machine",
        look=("minidock exec lab-worker mount", "minidock explain --unfold masks lab-worker"),
    ),
    Fault(
        name="null-is-a-file",
        part="dev",
        breaks=("null", "job"),
        inject=f"{_IN_WORKER} sh -c 'rm /dev/null; : > /dev/null; chmod 666 /dev/null'",
        fix=f"{_IN_WORKER} sh -c 'rm -f /dev/null; mknod -m 666 /dev/null c 1 3'",
        cause="/dev/null in lab-worker was a regular file, and what needs the device "
        "(a command without input) failed",
        look=("minidock exec -it lab-worker ls -l /dev", "minidock where lab-worker"),
    ),
)  # fmt: skip

FAULTS = LAYERS + MOUNTS
