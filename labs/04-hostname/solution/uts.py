"""A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts."""

import argparse
import os
import re

import linux

FLAGS = linux.CLONE_NEWUTS | linux.CLONE_NEWIPC


def options(parser):
    parser.add_argument("--hostname", type=valid, default=os.urandom(6).hex(), help="its name")


def valid(name):
    """The name, if it is one: in /etc/hosts, a line's end in it would begin a line of its own."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?", name):
        return name
    raise argparse.ArgumentTypeError(f"{name!r} is no name: 1 to 64 letters, digits, - and .")


def inside(box):
    """Name this UTS namespace, and tell so to those who look into /etc."""
    linux.sethostname(box.hostname)
    write({
        "/etc/hostname": f"{box.hostname}\n",
        "/etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{box.hostname}\n",
    })  # fmt: skip


def write(files):
    """Lay files over those of the root file system, which others use too: theirs stay as they are.

    They are in memory: a tmpfs is mounted for a moment, and lives on in the binds of its files.
    """
    os.makedirs("/proc", exist_ok=True)
    linux.mount("files", "/proc", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    for target, text in files.items():
        source = f"/proc/{os.path.basename(target)}"
        with open(source, "w") as file:
            file.write(text)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # A bind needs something to lie on.
        os.close(os.open(target, os.O_CREAT | os.O_RDONLY, 0o644))
        linux.mount(source, target, "", linux.MS_BIND)
    linux.umount2("/proc")
