"""Lab 04: the hostname of a box, its files, and what must not change."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from minidock.teach.lab.exam import Exam, Failure, Process, RunningBox, Sandbox, scene

NAME = "web-7.example"
FILES = ("/etc/hostname", "/etc/hosts")
NO_NAMES = {
    "a newline in it": "web\n6.6.6.6 bank.example",
    "a newline at its end": "web\n",
    "a blank in it": "web 7",
    "65 letters": "w" * 65,
    "nothing at all": "",
}
LOOPBACK = ip_network("127.0.0.0/8")


@dataclass(frozen=True)
class Boxes:
    """Two boxes of one root file system at once: one with --hostname, one without.

    before: the two files of the root file system as they were, by path. mounts: what was mounted on
    the host then, by id: a host that is a container itself has a mount at /etc/hostname.
    """

    sandbox: Sandbox
    named: RunningBox
    unnamed: RunningBox
    before: dict[str, str]
    mounts: set[int]


@scene
def boxes(sandbox: Sandbox) -> Boxes:
    before, mounts = files(sandbox), {mount.id for mount in sandbox.init.mounts()}
    named = sandbox.start_box("--hostname", NAME, sandbox.rootfs)
    return Boxes(sandbox, named, sandbox.start_box(sandbox.rootfs), before, mounts)


def own_uts_namespace(exam: Exam) -> str:
    return own_namespace(exam.of(boxes), "uts")


def own_ipc_namespace(exam: Exam) -> str:
    return own_namespace(exam.of(boxes), "ipc")


def hostname_given(exam: Exam) -> str:
    name = name_in(exam.of(boxes).named.command)
    if name != NAME:
        raise Failure(f"the box of --hostname {NAME} is called {name!r}")
    return f"the box of --hostname {NAME} is called so"


def hostname_default(exam: Exam) -> str:
    seen = exam.of(boxes)
    name = name_in(seen.unnamed.command)
    if name in ("", "(none)", seen.sandbox.hostname, NAME):
        raise Failure(f"a box without --hostname is called {name!r}")
    further = seen.sandbox.run("run", seen.sandbox.rootfs, "hostname")
    if further.exit_code or further.output.strip() == name:
        raise Failure(f"two boxes without --hostname: {name!r}, and {further.output.strip()!r}")
    return f"two boxes without --hostname are called {name} and {further.output.strip()}"


def host_keeps_name(exam: Exam) -> str:
    name = name_in(exam.of(boxes).sandbox.init)
    if name != Sandbox.hostname:
        raise Failure(f"the host was {Sandbox.hostname!r}, and is now {name!r}")
    return f"the host is {name!r}, as before"


def etc_hostname(exam: Exam) -> str:
    seen = exam.of(boxes)
    for box in (seen.named, seen.unnamed):
        text, name = box.command.nsenter("cat", "/etc/hostname"), name_in(box.command)
        if text != f"{name}\n":
            raise Failure(f"the box is called {name!r}, and its /etc/hostname is {text!r}")
    return "in both boxes, /etc/hostname is the name and a newline"


def etc_hosts(exam: Exam) -> str:
    seen = exam.of(boxes)
    for box in (seen.named, seen.unnamed):
        known = addresses(box.command.nsenter("cat", "/etc/hosts"))
        if "127.0.0.1" not in known.get("localhost", []):
            raise Failure(f"/etc/hosts: localhost is {known.get('localhost') or 'not there'}")
        name = name_in(box.command)
        if not any(is_loopback(address) for address in known.get(name, [])):
            raise Failure(f"/etc/hosts: {name}, its own name, is {known.get(name) or 'not there'}")
    return "in both boxes, /etc/hosts has localhost and the box's own name"


def rootfs_untouched(exam: Exam) -> str:
    seen = exam.of(boxes)
    changed = [path for path, text in files(seen.sandbox).items() if text != seen.before[path]]
    if changed:
        text = seen.sandbox.read(f"{seen.sandbox.rootfs}{changed[0]}")
        raise Failure(f"the root file system's own {changed[0]} has become {text[:80]!r}")
    left = [mount.target for mount in seen.sandbox.init.mounts() if mount.id not in seen.mounts]
    if left:
        raise Failure(f"a new mount on the host: {left[0]}")
    return "two boxes run, and the root file system's own two files are as before"


def no_names(exam: Exam) -> str:
    sandbox = exam.of(boxes).sandbox
    for what, name in NO_NAMES.items():
        result = sandbox.run("run", "--hostname", name, sandbox.rootfs, "echo", "it runs")
        if "it runs" in result.output:
            raise Failure(f"a name with {what}: the command runs")
        if result.exit_code != 125:
            raise Failure(f"a name with {what}: {result.summary()}")
    return f"refused: a name with {', '.join(NO_NAMES)}"


# What the probes share ---------------------------------------------------------------------------


def own_namespace(seen: Boxes, kind: str) -> str:
    inodes = [
        process.namespace(kind)
        for process in (seen.sandbox.init, seen.named.command, seen.unnamed.command)
    ]
    if inodes[0] in inodes[1:]:
        raise Failure(f"a box is in {inodes[0]}, and so is the host")
    if inodes[1] == inodes[2]:
        raise Failure(f"two boxes are in the same {inodes[1]}")
    return f"two boxes are in {inodes[1]} and {inodes[2]}, the host in {inodes[0]}"


def name_in(process: Process) -> str:
    """The name that its UTS namespace has."""
    return process.nsenter("hostname").strip()


def files(sandbox: Sandbox) -> dict[str, str]:
    return {path: sandbox.read(f"{sandbox.rootfs}{path}") for path in FILES}


def is_loopback(address: str) -> bool:
    try:
        return ip_address(address) in LOOPBACK
    except ValueError:
        return False


def addresses(hosts: str) -> dict[str, list[str]]:
    """name -> addresses, of a file such as /etc/hosts."""
    found: dict[str, list[str]] = {}
    for line in hosts.splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            found.setdefault(name, []).append(address)
    return found
