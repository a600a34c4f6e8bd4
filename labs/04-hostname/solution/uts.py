"""A name for the box: UTS and IPC namespaces, /etc/hostname, /etc/hosts."""

import argparse
import os
import re

import linux

FLAGS = linux.CLONE_NEWUTS | linux.CLONE_NEWIPC


def options(parser):
    parser.add_argument("--hostname", type=valid, default=os.urandom(6).hex(), help="its name")


def valid(name):
    """Validate the name: a newline in it would add a line to /etc/hosts."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?", name):
        return name
    raise argparse.ArgumentTypeError(f"invalid name {name!r}: 1 to 64 letters, digits, - and .")


def inside(box):
    """Set the host name, and write it to the files in /etc."""
    linux.sethostname(box.hostname)
    write({
        "/etc/hostname": f"{box.hostname}\n",
        "/etc/hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t{box.hostname}\n",
    })  # fmt: skip


def write(files):
    """Bind mount files over those of the root file system, which other boxes use too.

    The files are in a tmpfs, which is unmounted again, and exists as long as the bind mounts.
    """
    os.makedirs("/proc", exist_ok=True)
    linux.mount("files", "/proc", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    for target, text in files.items():
        source = f"/proc/{os.path.basename(target)}"
        with open(source, "w") as file:
            file.write(text)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # A bind mount needs a mount point.
        os.close(os.open(target, os.O_CREAT | os.O_RDONLY, 0o644))
        linux.mount(source, target, "", linux.MS_BIND)
    linux.umount2("/proc")
