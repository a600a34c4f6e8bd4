"""The file tree of a sandbox: the host's programs, read-only, and a root file system for boxes.

    /usr /bin /lib* /etc /opt    the host's, read-only: Python, compilers, ip, iptables; without the
                                 labs, if minidock is installed there
    /lab                         the student's files, read-only
    /rootfs                      a root file system with busybox, writable, not a mount point
    /tmp /run /root /var …       empty, writable
    /proc /sys /dev              mounted by the sandbox's first process (sandbox_clone.py), except
                                 the device files

All of it is one tmpfs, mounted in a mount namespace of its own: no path of the host leads to it,
and it disappears with its last process. The mounts below it are locked, because a user namespace is
created afterwards: no process inside can undo them (mount_namespaces(7)).
"""

from __future__ import annotations

import os
import shutil
import stat

from minidock.errors import MinidockError
from minidock.kernel import mount
from minidock.teach.lab.folder import labs_folder
from minidock.teach.lab.submission_files import Files
from minidock.teach.lab.submission_folder import act_as

ROOT_ID = 1_000_000_000  # the sandbox's root on the host; its uids and gids follow
IDS = 65_536
_PT_INTERP = 3

_HOSTS = ("usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY = ("home", "mnt", "proc", "root", "run", "srv", "sys", "var/lib", "var/tmp")
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_DEV_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
_APPLETS = """
[ ash awk basename cat chgrp chmod chown chroot cp cut date dd df diff dirname dmesg du echo env
expr false find free getopt grep gunzip gzip head hostname id ifconfig ip kill killall ln ls
md5sum mkdir mkfifo mknod mktemp mount mountpoint mv nc nproc nsenter od ping pivot_root printf ps
pwd readlink realpath reset rm rmdir route sed seq setsid sh sha256sum sleep sort stat stty su
sync tail tar tee test time timeout top touch tr traceroute true truncate tty umount uname uniq
unshare usleep vi wc wget which whoami xargs yes
""".split()
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nstudent:x:1000:1000::/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nstudent:x:1000:\n",
    "etc/hostname": "rootfs\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/os-release": "NAME=rootfs\n",
}


def build(top: str, lab: Files, *, size_mib: int) -> None:
    """Mount the sandbox's tree on `top`.

    Call it in a mount namespace of its own, with private propagation.
    """
    labs = labs_folder()  # before a mount covers it
    options = f"mode=755,size={size_mib}m,uid={ROOT_ID},gid={ROOT_ID}"
    mount.mount_filesystem("tmpfs", "/", top, "tmpfs", flags=0, data=options)
    for name in _EMPTY:
        os.makedirs(f"{top}/{name}")
    for name in ("tmp", "dev/shm", "var/tmp"):
        os.makedirs(f"{top}/{name}", exist_ok=True)
        os.chmod(f"{top}/{name}", 0o1777)
    for name in _HOSTS:
        _bind_read_only(f"/{name}", f"{top}/{name}")
    _mask_labs(top, labs)
    _bind_devices(f"{top}/dev")
    _create_rootfs(f"{top}/rootfs")
    os.mkdir(f"{top}/lab")
    _chown_tree(top)
    folder = os.open(f"{top}/lab", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with act_as(ROOT_ID, ROOT_ID):
            lab.write_into(folder)
    finally:
        os.close(folder)
    _bind_read_only(f"{top}/lab", f"{top}/lab")


def _bind_read_only(source: str, target: str) -> None:
    """Bind mount a directory read-only; copy a symbolic link as one."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        mount.bind_mount(source, "/", target, recursive=True)
        read_only = mount.MOUNT_ATTR_RDONLY
        mount.set_mount_attributes("/", target, attributes=read_only, recursive=True)


def _mask_labs(top: str, folder: str) -> None:
    """Mask the labs with an empty tmpfs: a submission must not run the solution."""
    if os.path.isdir(f"{top}{folder}"):
        flags, target = mount.MS_RDONLY, f"{top}{folder}"
        mount.mount_filesystem("tmpfs", "/", target, "tmpfs", flags=flags, data="mode=755")


def _bind_devices(dev: str) -> None:
    """Bind mount the host's devices: mknod(2) is not permitted in a user namespace."""
    os.mkdir(f"{dev}/pts")
    for name in _DEVICES:
        with open(f"{dev}/{name}", "xb"):
            mount.bind_mount(f"/dev/{name}", "/", f"{dev}/{name}", recursive=False)
    for name, points_to in _DEV_LINKS.items():
        os.symlink(points_to, f"{dev}/{name}")


def _create_rootfs(top: str) -> None:
    """Create a root file system like an image's: busybox, and the usual directories and files."""
    for name in ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var"):
        os.makedirs(f"{top}/{name}")
    os.chmod(f"{top}/tmp", 0o1777)
    shutil.copyfile(busybox(), f"{top}/bin/busybox")
    os.chmod(f"{top}/bin/busybox", 0o755)
    for name in _APPLETS:
        os.symlink("busybox", f"{top}/bin/{name}")
    for name, text in _FILES.items():
        with open(f"{top}/{name}", "x", encoding="utf-8") as file:
            file.write(text)


def _chown_tree(top: str) -> None:
    """Make the sandbox's root the owner of everything that is not the host's."""
    for directory, directories, files in os.walk(top):
        if directory == top:
            directories[:] = [name for name in directories if name not in _HOSTS]
            files = []
        elif directory == f"{top}/dev":
            files = []  # the host's devices
        for name in (*directories, *files):
            os.chown(f"{directory}/{name}", ROOT_ID, ROOT_ID, follow_symlinks=False)


def busybox() -> str:
    """The path of the host's static busybox.

    Raises MinidockError if there is none.
    """
    found = shutil.which("busybox", path=f"{os.defpath}:/usr/sbin:/sbin:/usr/local/bin")
    if found and is_static(found):
        return found
    raise MinidockError(
        "the labs need a static busybox, which is not installed",
        hint="apt install busybox-static",
    )


def is_static(path: str) -> bool:
    """Whether a program is statically linked: no PT_INTERP among its headers (elf(5))."""
    with open(path, "rb") as file:
        head = file.read(64)
        if len(head) < 64 or head[:5] != b"\x7fELF\x02" or not stat.S_ISREG(os.stat(path).st_mode):
            return False
        start = int.from_bytes(head[32:40], "little")
        size, count = (int.from_bytes(head[at : at + 2], "little") for at in (54, 56))
        file.seek(start)
        table = file.read(size * count)
    kinds = {int.from_bytes(table[at : at + 4], "little") for at in range(0, len(table), size)}
    return _PT_INTERP not in kinds
