"""Lab 10: a box that an ordinary user starts, with a user namespace.

The user is 1000 of the sandbox, with a root file system of his own. What the maps say and to whom a
namespace belongs is read from outside; what root of the box may do to others' files is tried.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    ProgramResult,
    RunningBox,
    Sandbox,
    scene,
)

USER = 1000
ROOTFS, SHARE = "/tmp/rootfs", "/tmp/share"
NAME = "attic"
NS_GET_USERNS = 0xB701  # ioctl_ns(2)

PREPARE = f"""
set -e
cp -a /rootfs {ROOTFS}
mkdir {SHARE}
echo secret > {SHARE}/roots
echo open > {SHARE}/yours
chmod 600 {SHARE}/roots
chown -R {USER}:{USER} {ROOTFS} {SHARE}/yours
chown {USER}:{USER} {SHARE}
"""
ACT = """
id -u; id -g
touch /share/new
cat /share/roots
chown 1 /share/yours
echo end
"""


@dataclass(frozen=True)
class UserBox:
    """A sandbox, and an ordinary user's box in which a command sleeps."""

    sandbox: Sandbox
    command: Process


@scene
def user_box(sandbox: Sandbox) -> UserBox:
    prepare(sandbox)
    options = ("--user-namespace", "--hostname", NAME, "--volume", f"{SHARE}:/share")
    box: RunningBox = sandbox.start_box(*options, "--tmpfs", "/scratch", ROOTFS, uid=USER)
    return UserBox(sandbox, box.command)


@dataclass(frozen=True)
class Attempts:
    """The results of what root of the box tried."""

    lines: list[str]
    result: ProgramResult
    owner: str


@scene
def attempts(sandbox: Sandbox) -> Attempts:
    prepare(sandbox)
    result = sandbox.run(
        "run", "--user-namespace", "--volume", f"{SHARE}:/share", ROOTFS, "sh", "-c", ACT, uid=USER
    )
    if result.output.split()[-1:] != ["end"]:
        raise Failure(f"`box run --user-namespace … id -u`, as user {USER}: {result.summary()}")
    asked = sandbox.start_command("/bin/sh", "-c", f"stat -c %u:%g {SHARE}/new").wait()
    return Attempts(result.output.splitlines(), result, asked.output.strip())


def prepare(sandbox: Sandbox) -> None:
    """Give the user a root file system, and a directory with files of others."""
    result = sandbox.start_command("/bin/sh", "-c", PREPARE).wait()
    if result.exit_code:
        raise RuntimeError(f"the user's files cannot be created: {result.summary()}")


def outside(sandbox: Sandbox, number: int) -> int:
    """The host's uid of a user of the sandbox."""
    first_inside, first_outside, _ = sandbox.init.uid_map()[0]
    return first_outside + number - first_inside


# The namespace and its maps ----------------------------------------------------------------------


def own_user_namespace(exam: Exam) -> str:
    seen = exam.of(user_box)
    own, hosts = seen.command.namespace("user"), seen.sandbox.init.namespace("user")
    if own == hosts:
        raise Failure(f"the command is in the host's user namespace, {own}")
    return f"the command is in {own}, the host in {hosts}"


def uid_map(exam: Exam) -> str:
    seen = exam.of(user_box)
    return is_only_the_user(seen, "uid", seen.command.uid_map())


def gid_map(exam: Exam) -> str:
    seen = exam.of(user_box)
    lines = [line.split() for line in seen.command.read("gid_map").splitlines()]
    found = is_only_the_user(seen, "gid", [(int(a), int(b), int(c)) for a, b, c in lines])
    said = seen.command.read("setgroups").strip()
    if said != "deny":
        raise Failure(f"setgroups is {said!r}")
    return f"{found}; setgroups is denied"


def is_only_the_user(seen: UserBox, kind: str, lines: list[tuple[int, int, int]]) -> str:
    """Check for one line: 0 inside is the user who started the box."""
    base = outside(seen.sandbox, 0)
    entries = [f"{first} {there - base} {many}" for first, there, many in lines]
    if entries != [f"0 {USER} 1"]:
        raise Failure(f"{kind}_map should be one line, 0 {USER} 1, and is: {entries or 'empty'}")
    return f"{kind}_map is {entries[0]}"


def namespaces_belong(exam: Exam) -> str:
    command = exam.of(user_box).command
    for kind in ("mnt", "pid", "uts", "ipc"):
        owner = owner_of(command, kind)
        if owner != command.namespace("user"):
            raise Failure(f"the box's {kind} namespace belongs to {owner}, not to the box's own")
    return "the mount, PID, UTS and IPC namespaces belong to the box's user namespace"


def owner_of(process: Process, kind: str) -> str:
    """The user namespace to which one of a process's namespaces belongs: "user:[4026…]"."""
    try:
        namespace = os.open(f"/proc/{process.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failure(f"process {process.pid} has ended ({error.strerror})") from None
    try:
        owner = fcntl.ioctl(namespace, NS_GET_USERNS)
        found = f"user:[{os.fstat(owner).st_ino}]"
        os.close(owner)
        return found
    finally:
        os.close(namespace)


# Identities --------------------------------------------------------------------------------------


def root_inside(exam: Exam) -> str:
    said = exam.of(attempts).lines[:2]
    if said != ["0", "0"]:
        raise Failure(f"`id -u; id -g` in the box: {' '.join(said)}")
    return "id says user 0, group 0"


def you_outside(exam: Exam) -> str:
    seen = exam.of(user_box)
    is_user = int(seen.command.status()["Uid"].split()[0])
    if is_user != outside(seen.sandbox, USER):
        number = is_user - outside(seen.sandbox, 0)
        raise Failure(f"on the host, the command runs as user {number}, not {USER}")
    owner = exam.of(attempts).owner
    if owner != f"{USER}:{USER}":
        raise Failure(
            f"a file that root of the box made in a volume belongs to {owner or 'nobody'}"
        )
    return f"on the host, the command and its files belong to user {USER}"


def no_more_than_you(exam: Exam) -> str:
    seen = exam.of(attempts)
    if "secret" in seen.lines:
        raise Failure("root of the box read a file that only root of the host may read")
    for tried in ("/share/roots", "/share/yours"):
        if tried not in seen.result.errors:
            raise Failure(f"root of the box could do to {tried} what user {USER} cannot")
    return "root's file stays unreadable, and files cannot be given away to others"


def a_box_as_ever(exam: Exam) -> str:
    seen = exam.of(user_box)
    if seen.command.pid_inside() != 1:
        raise Failure(f"the command's PID is {seen.command.pid_inside()}, not 1")
    name = seen.command.nsenter("hostname").strip()
    if name != NAME:
        raise Failure(f"the box's host name is {name}, not {NAME}")
    mounted = {mount.target: mount.fstype for mount in seen.command.mounts()}
    for target in ("/", "/proc", "/share", "/scratch"):
        if target not in mounted:
            raise Failure(f"nothing is mounted at {target} of the box")
    if mounted["/scratch"] != "tmpfs" or "/lab" in mounted:
        raise Failure(f"the box sees {', '.join(sorted(mounted))}")
    return "it has its own PIDs, name, root, /proc, volume and tmpfs, as root's boxes have"


def only_when_asked(exam: Exam) -> str:
    sandbox = exam.of(user_box).sandbox
    roots = sandbox.start_box(sandbox.rootfs).command
    if roots.namespace("user") != sandbox.init.namespace("user"):
        raise Failure("root's box has a user namespace without --user-namespace")
    result = sandbox.run("run", ROOTFS, "true", uid=USER)
    if result.exit_code != 125 or not result.errors.strip():
        raise Failure(f"without the option, user {USER} should get an error: {result.summary()}")
    return f"root's box has none, and user {USER} gets: {result.errors.strip().splitlines()[-1]}"
