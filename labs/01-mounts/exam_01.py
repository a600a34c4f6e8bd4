"""Lab 01: are the box's mounts its own, in both directions, and are they what was asked for?"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from minidock.teach.lab.exam import Contained, Ended, Exam, Lost, Mount, Place, Process, scene

_RESTRICTED = {"nosuid", "nodev", "noexec"}

# What a host may have: two file systems with data, the second one mounted with care. They belong to
# the place (its own tmpfs is the grader's), so that a wrong remount really changes them.
_VOLUMES = """
mkdir -p /srv/data /srv/careful
mount -t tmpfs data /srv/data
mkdir /srv/data/below
mount -t tmpfs below /srv/data/below
mount -t tmpfs -o nosuid,nodev,noexec careful /srv/careful
mkdir -p /srv/outside /rootfs/srv/outside
ln -s /srv/outside /rootfs/link
"""


@dataclass
class Sleeping:
    """A box with nothing asked for, and what the host mounted while it was there."""

    place: Place
    box: Contained
    late: str  # as the box would see it


@dataclass
class Scratch:
    """A box with a tmpfs; the mount points of the host before and then."""

    place: Place
    box: Contained
    before: list[str]
    during: list[str]


@dataclass
class Volumes:
    """A box that wrote to a volume, and one whose volume is not there; both have ended."""

    place: Place
    to_box: str
    below: str  # to the box as well, in a mount below HOST
    to_host: str
    wrote: Ended
    without_source: Ended


@scene
def sleeping(place: Place) -> Sleeping:
    place.write(f"{place.rootfs}/late/.keep", "")
    box = place.contained(place.rootfs)
    _as_host(place, f"mount -t tmpfs late {place.rootfs}/late")
    return Sleeping(place, box, "/late")


@scene
def scratch(place: Place) -> Scratch:
    """With a ROOTFS that is a mount point: it is shared, too, and not by being on a shared /."""
    _as_host(place, f"mkdir /srv/root && mount --bind {place.rootfs} /srv/root")
    before = _targets(place.init.mounts())
    box = place.contained("--tmpfs", "/scratch", "/srv/root")
    return Scratch(place, box, before, _targets(place.init.mounts()))


@scene
def volumes(place: Place) -> Volumes:
    _as_host(place, _VOLUMES)
    to_box, below, to_host = (secrets.token_hex(8) for _ in range(3))
    place.write("/srv/data/from-host", to_box)
    place.write("/srv/data/below/from-host", below)
    script = f"cat /data/from-host /data/below/from-host; echo {to_host} > /data/from-box"
    wrote = place.run("run", "--volume", "/srv/data:/data", place.rootfs, "sh", "-c", script)
    missing = place.run("run", "--volume", "/no/such:/data", place.rootfs, "echo", "this ran")
    return Volumes(place, to_box, below, to_host, wrote, missing)


@scene
def read_only(place: Place) -> tuple[Place, Contained]:
    _as_host(place, _VOLUMES)
    careful = "/srv/careful:/careful:ro"
    data = "/srv/data:/data:ro"
    return place, place.contained("--volume", data, "--volume", careful, place.rootfs)


def own_mount_namespace(exam: Exam) -> str:
    played = exam.of(sleeping)
    own, hosts = played.box.command.namespace("mnt"), played.place.init.namespace("mnt")
    if own == hosts:
        raise Lost(f"the command is in {own}, and so is the host")
    return f"the command is in {own}, the host in {hosts}"


def nothing_comes_in(exam: Exam) -> str:
    played = exam.of(sleeping)
    if played.late in _targets(played.box.command.mounts()):
        raise Lost(f"the host mounted a tmpfs on ROOTFS{played.late}, and it appeared in the box")
    return f"the host mounted a tmpfs on ROOTFS{played.late}, and the box has it not"


def nothing_leaks_out(exam: Exam) -> str:
    played = exam.of(scratch)
    leaked = [target for target in played.during if target not in played.before]
    if leaked:
        raise Lost(f"on the host, too, is mounted: {', '.join(leaked)}")
    return f"the host has its {len(played.before)} mounts as before"


def tmpfs(exam: Exam) -> str:
    command = exam.of(scratch).box.command
    mount = _mount_on(command.mounts(), "/scratch")
    missing = _RESTRICTED - set(mount.options)
    if mount.fstype != "tmpfs" or missing:
        raise Lost(f"/scratch is {mount.fstype}, {','.join(mount.options)}")
    mode = _mode_of_scratch(command)
    if mode != 0o1777:
        raise Lost(f"/scratch has mode {mode:o}")
    return f"/scratch is tmpfs, {','.join(mount.options)}, mode {mode:o}"


def mount_point_is_made(exam: Exam) -> str:
    place = exam.of(scratch).place
    box = place.contained("--tmpfs", "/made/by/box", "--tmpfs", "/made/too", place.rootfs)
    mounts = box.command.mounts()
    kinds = [_mount_on(mounts, target).fstype for target in ("/made/by/box", "/made/too")]
    if kinds != ["tmpfs", "tmpfs"]:
        raise Lost(f"/made/by/box is {kinds[0]}, /made/too is {kinds[1]}")
    return "/made/by/box and /made/too are tmpfs"


def volume(exam: Exam) -> str:
    played = exam.of(volumes)
    if played.to_box not in played.wrote.output:
        raise Lost(f"the box did not read the host's file: {played.wrote.said()}")
    try:
        found = played.place.read("/srv/data/from-box").strip()
    except Lost as lost:
        raise Lost(f"what the box wrote is not on the host: {lost}") from None
    if found != played.to_host:
        raise Lost(f"the box wrote {played.to_host}, the host reads {found}")
    return "each side read what the other had written"


def mounts_below_come_along(exam: Exam) -> str:
    played = exam.of(volumes)
    if played.below not in played.wrote.output:
        raise Lost(f"HOST/below is a mount, and empty in the box: {played.wrote.said()}")
    return "HOST/below is a mount, and its file was read in the box"


def volume_read_only(exam: Exam) -> str:
    _, box = exam.of(read_only)
    mount = _mount_on(box.command.mounts(), "/data")
    if "ro" not in (*mount.options, *mount.super_options):
        raise Lost(f"/data is {','.join(mount.options)}")
    return f"/data is {','.join(mount.options)}"


def host_can_still_write(exam: Exam) -> str:
    place, _ = exam.of(read_only)
    try:
        place.write("/srv/data/later", "")
    except Lost as lost:
        raise Lost(f"the host can write no more: {lost}") from None
    return "the host wrote a file"


def flags_are_kept(exam: Exam) -> str:
    _, box = exam.of(read_only)
    mount = _mount_on(box.command.mounts(), "/careful")
    if _RESTRICTED - set(mount.options):
        raise Lost(f"the host has nosuid,nodev,noexec; in the box it is {','.join(mount.options)}")
    return f"in the box it is {','.join(mount.options)}"


def links_stay_inside(exam: Exam) -> str:
    place = exam.of(volumes).place
    box = place.contained("--volume", "/srv/data:/link/v", place.rootfs)
    targets = _targets(box.command.mounts())
    if place.exists("/srv/outside/v"):
        raise Lost("ROOTFS/link -> /srv/outside, and /srv/outside/v was made on the host")
    if "/srv/outside/v" not in targets:
        raise Lost(f"the box has no mount on /srv/outside/v, but on: {', '.join(targets)}")
    return "the volume is on /srv/outside/v of the box"


def no_volume_no_command(exam: Exam) -> str:
    ended = exam.of(volumes).without_source
    if ended.output:
        raise Lost("the command ran without its volume")
    if ended.exit_code != 125 or not ended.errors.strip():
        raise Lost(f"nothing ran; {ended.said()}")
    return f"nothing ran; {ended.said()}"


def _as_host(place: Place, script: str) -> None:
    """What the machine's own administrator does in the place."""
    ended = place.start_command("/bin/sh", "-ec", script).wait(10)
    if ended.exit_code:
        raise RuntimeError(f"the place cannot be set up: {ended.said()}")


def _targets(mounts: list[Mount]) -> list[str]:
    return sorted(mount.target for mount in mounts)


def _mount_on(mounts: list[Mount], target: str) -> Mount:
    """What is mounted there, the uppermost. Raises Lost where nothing is."""
    found = [mount for mount in mounts if mount.target == target]
    if not found:
        raise Lost(f"in the box nothing is mounted on {target}, but on: {_targets(mounts)}")
    return found[-1]


def _mode_of_scratch(command: Process) -> int:
    """Its permissions; the path has one name, so no link of the box is followed. Raises Lost."""
    try:
        return os.lstat(f"/proc/{command.pid}/root/scratch").st_mode & 0o7777
    except OSError as error:
        raise Lost(f"/scratch in the box: {error.strerror}") from None
