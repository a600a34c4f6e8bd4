"""Mounts of the box: --tmpfs DIR, and --volume HOST:DIR."""

import os

import linux

# A remount replaces all flags, so these must be passed again. statvfs returns them as mount flags.
KEPT = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC


def options(parser):
    """--tmpfs and --volume, both repeatable: box.tmpfs, box.volume are lists."""
    parser.add_argument("--tmpfs", metavar="DIR", action="append", default=[])
    parser.add_argument(
        "--volume", metavar="HOST:DIR[:ro]", action="append", default=[], type=volume
    )


def volume(text):
    """HOST:DIR or HOST:DIR:ro as (host, directory, read_only)."""
    host, directory, *mode = text.split(":")
    if not host or not directory.startswith("/") or mode not in ([], ["ro"]):
        raise ValueError(text)
    return host, directory, bool(mode)


def inside(box):
    """Mount them below box.rootfs, which is not the root yet."""
    for directory in box.tmpfs:
        flags = linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC
        linux.mount("tmpfs", mount_point(box, directory), "tmpfs", flags, "mode=1777")
    for host, directory, read_only in box.volume:
        bind(box, host, directory)
        if read_only:
            make_read_only(box, directory)


def bind(box, host, directory):
    """Bind mount a directory of the host in the box, with all mounts below it."""
    linux.mount(host, mount_point(box, directory), "", linux.MS_BIND | linux.MS_REC)


def make_read_only(box, directory):
    """Make this mount read-only.

    A second call, since the kernel ignores MS_RDONLY when it creates a bind mount. With MS_BIND:
    without it the file system would become read-only, for the host too.
    """
    mounted = inside_rootfs(box, directory)
    kept = os.statvfs(mounted).f_flag & KEPT
    linux.mount("", mounted, "", linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | kept)


def mount_point(box, directory):
    """A directory of the box to mount on; created if it is missing, with its parents."""
    path = "/"
    for name in directory.strip("/").split("/"):
        try:
            os.mkdir(inside_rootfs(box, path) + "/" + name, 0o755)
        except FileExistsError:
            pass
        path = os.path.join(path, name)
    return inside_rootfs(box, directory)


def inside_rootfs(box, path):
    """A name for a path of the box: symbolic links are resolved as in the box.

    rootfs + path would be wrong: if the rootfs has a link /data -> /etc, it leads to the host's
    /etc. The descriptor stays open until execve closes it.
    """
    rootfs = os.open(box.rootfs, os.O_PATH)
    found = linux.openat2(rootfs, path, os.O_PATH, linux.RESOLVE_IN_ROOT)
    return f"/proc/self/fd/{found}"
