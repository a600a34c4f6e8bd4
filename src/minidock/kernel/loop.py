"""Loop devices: a file as a disk, which limits the space of a directory to the file's size.

A file system has only one limit, its own size. So a directory limited to ten megabytes is a file of
ten megabytes that contains a file system. The kernel shows such a file as a block device
(/dev/loop3), which can be mounted.

The device is bound through a descriptor and detaches itself after its last user, the mount
(LO_FLAGS_AUTOCLEAR): nothing else has to be released.

Two devices on one file would be two independent file systems, which would corrupt it. So a file
that is already bound to a device is mounted from that device: however often a device is mounted,
the kernel keeps one file system for it.

Sources: loop(4); include/uapi/linux/loop.h (struct loop_config, struct loop_info64); sysfs,
loop/backing_file.
"""

from __future__ import annotations

import fcntl
import os
import time
from errno import EBUSY, ENXIO

from minidock.errors import KernelError
from minidock.kernel.libc import path_bytes
from minidock.kernel.mount import plain_mount
from minidock.kernel.op import op, quote

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_ATTEMPTS = 500
_POLL_SECONDS = 0.02
_HINT = "modprobe loop     loads the driver; in a container, /dev/loop-control must exist"


def _mount_disk_file_sh(path: str, target: str, fstype: str, data: str) -> str:
    options = ",".join(["loop", *([data] if data else [])])
    return f"mount -t {quote(fstype)} -o {quote(options)} {quote(path)} {quote(target)}"


@op("mount(8)", twin=_mount_disk_file_sh)
def mount_disk_file(path: str, target: str, fstype: str, data: str) -> None:
    """Mount a file that contains a file system: the container's own layer then has the file's size.

    Without it: a container writes to the store's disk without a limit, and one that fills it stops
    all others.

    path: the file. target: an existing directory. data: the file system's options, comma-separated.
    Raises KernelError: ENOENT without loop devices, EBUSY if all are in use, EUCLEAN or EINVAL for
    a file that does not contain such a file system.
    """
    device, name = _bound_device(path)
    try:
        options = path_bytes(data) if data else None
        place, kind = path_bytes(target), path_bytes(fstype)
        plain_mount(path_bytes(name), place, kind, 0, options, subject=f"{path} on {target}")
    finally:
        os.close(device)  # from here on only the mount keeps it


def _bound_device(path: str) -> tuple[int, str]:
    """Open the loop device bound to a file, or bind a free one; returns its descriptor and name.

    The caller prevents others from doing the same with this file at the same time.
    """
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            shown = _device_that_shows(path)
            name = shown or _free_device()
            device = _open(name)
            if device >= 0:
                if _shows(device, file) if shown else _bind(device, file, name):
                    return device, name
                os.close(device)
            time.sleep(_POLL_SECONDS)  # it is being detached, or another process was faster
    finally:
        os.close(file)
    raise KernelError("loop(4)", path, EBUSY, hint="losetup -a     lists the devices in use")


def _device_that_shows(path: str) -> str:
    """Return the loop device that is bound to a file of this path; "" if none."""
    for name in os.listdir("/sys/block"):
        if name.startswith("loop"):
            try:
                with open(f"/sys/block/{name}/loop/backing_file") as file:
                    if file.read().rstrip("\n") == path:
                        return f"/dev/{name}"
            except OSError:
                continue  # bound to no file
    return ""


def _shows(device: int, file: int) -> bool:
    """Whether a device is bound to exactly this file; it stays bound while its descriptor is open.

    struct loop_info64 begins with lo_device and lo_inode.
    """
    info = bytearray(232)
    try:
        fcntl.ioctl(device, _LOOP_GET_STATUS64, info)
    except OSError:
        return False  # ENXIO: detached meanwhile
    status = os.fstat(file)
    numbers = (int.from_bytes(info[at : at + 8], "little") for at in (0, 8))
    return tuple(numbers) == (status.st_dev, status.st_ino)


def _free_device() -> str:
    control = _open("/dev/loop-control")
    try:
        return f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
    finally:
        os.close(control)


def _open(name: str) -> int:
    """Open a device; returns -1 for one that is just being detached."""
    try:
        return os.open(name, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == ENXIO:
            return -1
        raise KernelError("loop(4)", name, error.errno or 0, hint=_HINT) from None


def _bind(device: int, file: int, name: str) -> bool:
    """Bind a device to a file; returns False if it was no longer free.

    struct loop_config: fd, block_size, struct loop_info64 (232 bytes, of which lo_flags are at 52),
    64 reserved bytes.
    """
    config = bytearray(304)
    config[0:4] = file.to_bytes(4, "little")
    config[60:64] = _LO_FLAGS_AUTOCLEAR.to_bytes(4, "little")
    try:
        fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
    except OSError as error:
        if error.errno == EBUSY:
            return False
        raise KernelError("loop(4)", name, error.errno or 0) from None
    return True
