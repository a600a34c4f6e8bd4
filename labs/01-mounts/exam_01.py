"""Lab 01: are the box's mounts its own, in both directions, and are they the requested ones?"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Mount,
    Process,
    ProgramResult,
    RunningBox,
    Sandbox,
    scene,
)

_RESTRICTED = {"nosuid", "nodev", "noexec"}

# What a host may have: two file systems with data, the second one mounted with care. They belong to
# the sandbox (its own tmpfs is the grader's), so that a wrong remount really changes them.
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

    sandbox: Sandbox
    box: RunningBox
    late: str  # as the box would see it


@dataclass
class Scratch:
    """A box with a tmpfs; the mount points of the host before and then."""

    sandbox: Sandbox
    box: RunningBox
    before: list[str]
    during: list[str]


@dataclass
class Volumes:
    """A box that wrote to a volume, and one whose volume is not there; both have ended."""

    sandbox: Sandbox
    to_box: str
    below: str  # to the box as well, in a mount below HOST
    to_host: str
    wrote: ProgramResult
    without_source: ProgramResult


@scene
def sleeping(sandbox: Sandbox) -> Sleeping:
    sandbox.write(f"{sandbox.rootfs}/late/.keep", "")
    box = sandbox.start_box(sandbox.rootfs)
    _as_host(sandbox, f"mount -t tmpfs late {sandbox.rootfs}/late")
    return Sleeping(sandbox, box, "/late")


@scene
def scratch(sandbox: Sandbox) -> Scratch:
    """With a ROOTFS that is a mount point: it is shared, too, and not by being on a shared /."""
    _as_host(sandbox, f"mkdir /srv/root && mount --bind {sandbox.rootfs} /srv/root")
    before = _targets(sandbox.init.mounts())
    box = sandbox.start_box("--tmpfs", "/scratch", "/srv/root")
    return Scratch(sandbox, box, before, _targets(sandbox.init.mounts()))


@scene
def volumes(sandbox: Sandbox) -> Volumes:
    _as_host(sandbox, _VOLUMES)
    to_box, below, to_host = (secrets.token_hex(8) for _ in range(3))
    sandbox.write("/srv/data/from-host", to_box)
    sandbox.write("/srv/data/below/from-host", below)
    script = f"cat /data/from-host /data/below/from-host; echo {to_host} > /data/from-box"
    wrote = sandbox.run("run", "--volume", "/srv/data:/data", sandbox.rootfs, "sh", "-c", script)
    missing = sandbox.run("run", "--volume", "/no/such:/data", sandbox.rootfs, "echo", "this ran")
    return Volumes(sandbox, to_box, below, to_host, wrote, missing)


@scene
def read_only(sandbox: Sandbox) -> tuple[Sandbox, RunningBox]:
    _as_host(sandbox, _VOLUMES)
    careful = "/srv/careful:/careful:ro"
    data = "/srv/data:/data:ro"
    return sandbox, sandbox.start_box("--volume", data, "--volume", careful, sandbox.rootfs)


def own_mount_namespace(exam: Exam) -> str:
    played = exam.of(sleeping)
    own, hosts = played.box.command.namespace("mnt"), played.sandbox.init.namespace("mnt")
    if own == hosts:
        raise Failure(f"the command is in {own}, and so is the host")
    return f"the command is in {own}, the host in {hosts}"


def nothing_comes_in(exam: Exam) -> str:
    played = exam.of(sleeping)
    if played.late in _targets(played.box.command.mounts()):
        raise Failure(
            f"the host mounted a tmpfs on ROOTFS{played.late}, and it appeared in the box"
        )
    return f"the host mounted a tmpfs on ROOTFS{played.late}, and the box does not have it"


def nothing_leaks_out(exam: Exam) -> str:
    played = exam.of(scratch)
    leaked = [target for target in played.during if target not in played.before]
    if leaked:
        raise Failure(f"on the host, too, is mounted: {', '.join(leaked)}")
    return f"the host has its {len(played.before)} mounts as before"


def tmpfs(exam: Exam) -> str:
    command = exam.of(scratch).box.command
    mount = _mount_on(command.mounts(), "/scratch")
    missing = _RESTRICTED - set(mount.options)
    if mount.fstype != "tmpfs" or missing:
        raise Failure(f"/scratch is {mount.fstype}, {','.join(mount.options)}")
    mode = _mode_of_scratch(command)
    if mode != 0o1777:
        raise Failure(f"/scratch has mode {mode:o}")
    return f"/scratch is tmpfs, {','.join(mount.options)}, mode {mode:o}"


def mount_point_is_made(exam: Exam) -> str:
    sandbox = exam.of(scratch).sandbox
    box = sandbox.start_box("--tmpfs", "/made/by/box", "--tmpfs", "/made/too", sandbox.rootfs)
    mounts = box.command.mounts()
    kinds = [_mount_on(mounts, target).fstype for target in ("/made/by/box", "/made/too")]
    if kinds != ["tmpfs", "tmpfs"]:
        raise Failure(f"/made/by/box is {kinds[0]}, /made/too is {kinds[1]}")
    return "/made/by/box and /made/too are tmpfs"


def volume(exam: Exam) -> str:
    played = exam.of(volumes)
    if played.to_box not in played.wrote.output:
        raise Failure(f"the box did not read the host's file: {played.wrote.summary()}")
    try:
        found = played.sandbox.read("/srv/data/from-box").strip()
    except Failure as failure:
        raise Failure(f"what the box wrote is not on the host: {failure}") from None
    if found != played.to_host:
        raise Failure(f"the box wrote {played.to_host}, the host reads {found}")
    return "each side read what the other had written"


def mounts_below_come_along(exam: Exam) -> str:
    played = exam.of(volumes)
    if played.below not in played.wrote.output:
        raise Failure(f"HOST/below is a mount, and empty in the box: {played.wrote.summary()}")
    return "HOST/below is a mount, and its file was read in the box"


def volume_read_only(exam: Exam) -> str:
    _, box = exam.of(read_only)
    mount = _mount_on(box.command.mounts(), "/data")
    if "ro" not in (*mount.options, *mount.super_options):
        raise Failure(f"/data is {','.join(mount.options)}")
    return f"/data is {','.join(mount.options)}"


def host_can_still_write(exam: Exam) -> str:
    sandbox, _ = exam.of(read_only)
    try:
        sandbox.write("/srv/data/later", "")
    except Failure as failure:
        raise Failure(f"the host can no longer write: {failure}") from None
    return "the host wrote a file"


def flags_are_kept(exam: Exam) -> str:
    _, box = exam.of(read_only)
    mount = _mount_on(box.command.mounts(), "/careful")
    if _RESTRICTED - set(mount.options):
        raise Failure(
            f"the host has nosuid,nodev,noexec; in the box it is {','.join(mount.options)}"
        )
    return f"in the box it is {','.join(mount.options)}"


def links_stay_inside(exam: Exam) -> str:
    sandbox = exam.of(volumes).sandbox
    box = sandbox.start_box("--volume", "/srv/data:/link/v", sandbox.rootfs)
    targets = _targets(box.command.mounts())
    if sandbox.exists("/srv/outside/v"):
        raise Failure("ROOTFS/link -> /srv/outside, and /srv/outside/v was made on the host")
    if "/srv/outside/v" not in targets:
        raise Failure(f"the box has no mount on /srv/outside/v, but on: {', '.join(targets)}")
    return "the volume is on /srv/outside/v of the box"


def no_volume_no_command(exam: Exam) -> str:
    result = exam.of(volumes).without_source
    if result.output:
        raise Failure("the command ran without its volume")
    if result.exit_code != 125 or not result.errors.strip():
        raise Failure(f"nothing ran; {result.summary()}")
    return f"nothing ran; {result.summary()}"


def _as_host(sandbox: Sandbox, script: str) -> None:
    """Run a script as the sandbox's root."""
    result = sandbox.start_command("/bin/sh", "-ec", script).wait(10)
    if result.exit_code:
        raise RuntimeError(f"the sandbox cannot be set up: {result.summary()}")


def _targets(mounts: list[Mount]) -> list[str]:
    return sorted(mount.target for mount in mounts)


def _mount_on(mounts: list[Mount], target: str) -> Mount:
    """The topmost mount on a path. Raises Failure if there is none."""
    found = [mount for mount in mounts if mount.target == target]
    if not found:
        raise Failure(f"in the box nothing is mounted on {target}, but on: {_targets(mounts)}")
    return found[-1]


def _mode_of_scratch(command: Process) -> int:
    """Its permissions; the path has one name, so no link of the box is followed. Raises Failure."""
    try:
        return os.lstat(f"/proc/{command.pid}/root/scratch").st_mode & 0o7777
    except OSError as error:
        raise Failure(f"/scratch in the box: {error.strerror}") from None
