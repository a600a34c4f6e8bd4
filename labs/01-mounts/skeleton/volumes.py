"""Mounts of the box: --tmpfs DIR, and --volume HOST:DIR. Yours to write."""


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
    if box.tmpfs or box.volume:
        # TODO: linux.mount, and linux.openat2 for paths that must not lead out of the rootfs
        raise NotImplementedError("volumes.inside is not written yet")
