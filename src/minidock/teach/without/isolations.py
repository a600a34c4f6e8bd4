"""The walls of a container, and what leaving one out changes of what was asked for.

Nothing below learns a new word: an omission is a field of Docker's ContainerCreate body that a flag
could have set, too. For two of them Docker has no field, since it never leaves them out; they go
into the OCI config, as an annotation and as a namespace that is missing (runtime/config.py).

Sources: Docker Engine API 1.45, HostConfig; namespaces(7); OCI runtime-spec config "Annotations".
"""

from __future__ import annotations

from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

_ANNOTATION = "minidock.without"


class Isolation:
    """One wall.

    lost: what a container without it shares. flag: how docker's users leave it out; "" where they
    cannot. change: leaves it out of a HostConfig. dangerous: the host's files are in reach then.
    """

    def __init__(
        self,
        lost: str,
        flag: str,
        change: Callable[[dict[str, Any]], None],
        *,
        dangerous: bool = False,
    ) -> None:
        self.lost = lost
        self.flag = flag
        self.change = change
        self.dangerous = dangerous


def _mode(lost: str, field: str, flag: str) -> Isolation:
    """A namespace that Docker can leave out: its mode is "host"."""

    def change(host: dict[str, Any]) -> None:
        if host.get(field) not in (None, "", "default", "host"):
            raise UsageError(f"{flag} {host[field]} needs the wall that --without leaves out")
        host[field] = "host"

    return Isolation(lost, f"{flag} host", change)


def _annotated(lost: str, name: str) -> Isolation:
    """One that Docker never leaves out."""

    def change(host: dict[str, Any]) -> None:
        named = (host.get("Annotations") or {}).get(_ANNOTATION, "")
        joined = ",".join(filter(None, [named, name]))
        host["Annotations"] = {**(host.get("Annotations") or {}), _ANNOTATION: joined}

    return Isolation(lost, "", change, dangerous=True)


def _no_seccomp(host: dict[str, Any]) -> None:
    given = host.get("SecurityOpt") or []
    if any(option.startswith("seccomp") for option in given):
        raise UsageError("--security-opt seccomp=… and --without seccomp: give one of them")
    host["SecurityOpt"] = [*given, "seccomp=unconfined"]


def _all_capabilities(host: dict[str, Any]) -> None:
    if host.get("CapDrop"):
        raise UsageError("--cap-drop and --without capabilities: give one of them")
    host["CapAdd"] = ["ALL"]


def _no_masks(host: dict[str, Any]) -> None:
    host["MaskedPaths"] = []
    host["ReadonlyPaths"] = []


def _all_devices(host: dict[str, Any]) -> None:
    host["DeviceCgroupRules"] = [*(host.get("DeviceCgroupRules") or []), "a *:* rwm"]


ISOLATIONS = {
    "pid": _mode("its processes are among the host's, and see them", "PidMode", "--pid"),
    "mount": _annotated("what it mounts is mounted on the host", "mount"),
    "net": _mode("it has the host's network and addresses", "NetworkMode", "--network"),
    "uts": _mode("it has the host's name", "UTSMode", "--uts"),
    "ipc": _mode("it shares shared memory and queues with the host", "IpcMode", "--ipc"),
    "cgroup": _mode("it sees its cgroup's place on the host", "CgroupnsMode", "--cgroupns"),
    "pivot_root": _annotated("its root is set by chroot(2), the host's is above it", "pivot_root"),
    "seccomp": Isolation(
        "no system call is filtered", "--security-opt seccomp=unconfined", _no_seccomp
    ),
    "capabilities": Isolation(
        "its root has all of root's power", "--cap-add ALL", _all_capabilities
    ),
    "masks": Isolation(
        "nothing of /proc and /sys is hidden or read-only",
        "--security-opt systempaths=unconfined",
        _no_masks,
    ),
    "devices": Isolation(
        "its cgroup lets it open every device", "--device-cgroup-rule 'a *:* rwm'", _all_devices
    ),
}


def parse_isolations(given: Iterable[str]) -> list[str]:
    """The walls that --without names, in the order of WALLS.

    given: each a name, or several with commas between.
    Raises UsageError for one that there is not.
    """
    wanted = [word.strip() for text in given for word in text.split(",")]
    for name in wanted:
        if name not in ISOLATIONS:
            raise UsageError(
                f'--without: there is no wall "{name}"', hint=f"there are {', '.join(ISOLATIONS)}"
            )
    return [name for name in ISOLATIONS if name in wanted]


def leave_out(
    body: dict[str, Any], isolations: list[str], *, is_allowed: Callable[[], bool]
) -> None:
    """Change a ContainerCreate body so that the container has no such walls.

    is_allowed: whether the dangerous ones may be left out here; asked only for those.
    Raises UsageError where they may not, and where the body asks for the opposite.
    """
    host = body["HostConfig"]
    if host.get("Privileged"):
        raise UsageError(
            "--privileged and --without: give one of them",
            hint="--privileged leaves out seccomp, capabilities, masks and devices",
        )
    dangerous = [name for name in isolations if ISOLATIONS[name].dangerous]
    if dangerous and not is_allowed():
        raise UsageError(
            f"--without {','.join(dangerous)} puts this machine's own files into the container's "
            "reach, and this is no virtual machine",
            hint="use one that may break (vagrant up), or say --yes-in-a-vm",
        )
    for name in isolations:
        ISOLATIONS[name].change(host)
