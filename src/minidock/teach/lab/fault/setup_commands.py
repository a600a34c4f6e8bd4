"""The commands that create the setup: shown to a student, and changed by some faults.

Words that begin with "$" are variables of Shop.names: $IMAGE has the files of the image's layers,
one directory per layer; $DISK is a directory that represents a disk of this machine.
"""

from __future__ import annotations

LABEL = "minidock.lab=fault"
NAMES = ("lab-web", "lab-client", "lab-worker", "lab-bank")
NETWORKS = ("lab-shop", "lab-town")
VOLUMES = ("lab-orders", "lab-order")  # the second has a typing error
IMAGES = ("lab-shop:latest", "lab-shop:half")

OLD_PAGE, PAGE, PRICES = "lab shop: winter\n", "lab shop: spring\n", "bread 2\ncheese 5\n"
MEMORY_BYTES, PIDS = 32 << 20, 24
USER = 1000  # owns the orders

# The image's files: layer -> path -> (mode, text). The upper layer has this season's page.
FILES = {
    "shop": {
        "srv/index.html": (0o644, OLD_PAGE),
        "srv/prices": (0o644, PRICES),
        "shop/worker": (0o755, "#!/bin/sh\nexec sleep 2147483647\n"),
        "shop/job": (
            0o755,
            "#!/bin/sh -e\n"
            "# Eight at a time, then something that needs 16 MB.\n"
            "for i in 1 2 3 4 5 6 7 8; do sleep 0.01 & done; wait\n"
            "head -c 16m /dev/zero | tail -c 16m | wc -c\n",
        ),
    },
    "season": {"srv/index.html": (0o644, PAGE)},
}

_RUN = f"minidock run -d --label {LABEL} --name"
WEB = f"{_RUN} lab-web --network lab-shop -p 8081:80 lab-shop httpd -f -p 80 -h /srv"
CLIENT = f"{_RUN} lab-client --network lab-shop lab-shop sleep 2147483647"
WORKER = (
    f"{_RUN} lab-worker --network lab-shop --init --memory 32m --memory-swap 32m "
    f"--pids-limit {PIDS} --storage-opt size=8m --volume lab-orders:/orders "
    "--mount type=bind,src=$DISK,dst=/disk lab-shop /shop/worker"
)
BANK = f"{_RUN} lab-bank --network lab-town -p 8082:80 lab-shop httpd -f -p 80 -h /srv"


def image_commands(lower: str, upper: str) -> tuple[str, ...]:
    """The commands that make image lab-shop: the files of two directories, one over the other."""
    return (
        "minidock create --name lab-image busybox true",
        f"minidock cp -a $IMAGE/{lower}/. lab-image:/",
        f"minidock commit -m 'files of {lower}' lab-image lab-shop:half",
        "minidock rm lab-image",
        "minidock create --name lab-image lab-shop:half true",
        f"minidock cp -a $IMAGE/{upper}/. lab-image:/",
        f"minidock commit -m 'files of {upper}' -c 'LABEL {LABEL}' lab-image lab-shop",
        "minidock rm lab-image",
        "minidock rmi lab-shop:half",
    )


COMMANDS = (
    *image_commands("shop", "season"),
    "mount -t tmpfs -o size=1m lab $DISK",
    "mount --make-shared $DISK",
    *(f"minidock network create --label {LABEL} {name}" for name in NETWORKS),
    f"minidock volume create --label {LABEL} lab-orders",
    WEB,
    CLIENT,
    WORKER,
    BANK,
)
