"""The isolations of a container, and how --without changes the create request.

An omission is a field of Docker's ContainerCreate body that a flag can set too, so the layers below
need no change. For two of them Docker has no field; an annotation carries them to the OCI config
(runtime/config_validation.py).

Sources: Docker Engine API 1.45, HostConfig; namespaces(7); OCI runtime-spec config "Annotations".
"""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.oci.runtime_config import WITHOUT_ANNOTATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from minidock.document_types.container import CreateBody
    from minidock.document_types.host_config import HostConfig, ModeField


class Isolation:
    """One isolation.

    lost: the effect of leaving it out. flag: Docker's flag for that, "" if none. change: leaves it
    out of a HostConfig. dangerous: whether that exposes the host's files.
    """

    def __init__(
        self,
        lost: str,
        flag: str,
        change: Callable[[HostConfig], None],
        *,
        dangerous: bool = False,
    ) -> None:
        self.lost = lost
        self.flag = flag
        self.change = change
        self.dangerous = dangerous


def _mode(lost: str, field: ModeField, flag: str) -> Isolation:
    """A namespace that Docker can share with the host: its mode is "host"."""

    def change(host: HostConfig) -> None:
        if host.get(field) not in (None, "", "default", "host"):
            raise UsageError(f"{flag} {host[field]} conflicts with --without")
        host[field] = "host"

    return Isolation(lost, f"{flag} host", change)


def _annotated(lost: str, name: str) -> Isolation:
    """An isolation that Docker cannot leave out."""

    def change(host: HostConfig) -> None:
        named = (host.get("Annotations") or {}).get(WITHOUT_ANNOTATION, "")
        joined = ",".join(filter(None, [named, name]))
        host["Annotations"] = {**(host.get("Annotations") or {}), WITHOUT_ANNOTATION: joined}

    return Isolation(lost, "", change, dangerous=True)


def _no_seccomp(host: HostConfig) -> None:
    given = host.get("SecurityOpt") or []
    if any(option.startswith("seccomp") for option in given):
        raise UsageError("--security-opt seccomp=… and --without seccomp are mutually exclusive")
    host["SecurityOpt"] = [*given, "seccomp=unconfined"]


def _all_capabilities(host: HostConfig) -> None:
    if host.get("CapDrop"):
        raise UsageError("--cap-drop and --without capabilities are mutually exclusive")
    host["CapAdd"] = ["ALL"]


def _no_masks(host: HostConfig) -> None:
    host["MaskedPaths"] = []
    host["ReadonlyPaths"] = []


def _all_devices(host: HostConfig) -> None:
    host["DeviceCgroupRules"] = [*(host.get("DeviceCgroupRules") or []), "a *:* rwm"]


ISOLATIONS = {
    "pid": _mode("it shares the host's PID namespace and sees its processes", "PidMode", "--pid"),
    "mount": _annotated("its mounts appear on the host", "mount"),
    "net": _mode("it has the host's network devices and addresses", "NetworkMode", "--network"),
    "uts": _mode("it has the host's hostname", "UTSMode", "--uts"),
    "ipc": _mode("it has the host's shared memory and message queues", "IpcMode", "--ipc"),
    "cgroup": _mode("it sees the path of its cgroup on the host", "CgroupnsMode", "--cgroupns"),
    "pivot_root": _annotated("its root is set by chroot(2), below the host's", "pivot_root"),
    "seccomp": Isolation(
        "no system call is filtered", "--security-opt seccomp=unconfined", _no_seccomp
    ),
    "capabilities": Isolation("its root has all capabilities", "--cap-add ALL", _all_capabilities),
    "masks": Isolation(
        "no path of /proc and /sys is masked or read-only",
        "--security-opt systempaths=unconfined",
        _no_masks,
    ),
    "devices": Isolation(
        "its cgroup lets it open every device", "--device-cgroup-rule 'a *:* rwm'", _all_devices
    ),
}


def parse_isolations(given: Iterable[str]) -> list[str]:
    """Parse the values of --without; returns names in the order of ISOLATIONS.

    given: each a comma-separated list of names.
    Raises UsageError for an unknown name.
    """
    wanted = [word.strip() for text in given for word in text.split(",")]
    for name in wanted:
        if name not in ISOLATIONS:
            raise UsageError(
                f'--without: unknown isolation "{name}"', hint=f"one of {', '.join(ISOLATIONS)}"
            )
    return [name for name in ISOLATIONS if name in wanted]


def leave_out(body: CreateBody, isolations: list[str], *, is_allowed: Callable[[], bool]) -> None:
    """Change a ContainerCreate body so that the container lacks these isolations.

    is_allowed: whether the dangerous ones may be left out here; called only for those.
    Raises UsageError if they may not, and if the body has conflicting options.
    """
    host = body["HostConfig"]
    if host.get("Privileged"):
        raise UsageError(
            "--privileged and --without are mutually exclusive",
            hint="--privileged leaves out seccomp, capabilities, masks and devices",
        )
    dangerous = [name for name in isolations if ISOLATIONS[name].dangerous]
    if dangerous and not is_allowed():
        raise UsageError(
            f"--without {','.join(dangerous)} exposes this machine's files to the container, and "
            "this is not a virtual machine",
            hint="use a disposable one (vagrant up), or add --yes-in-a-vm",
        )
    for name in isolations:
        ISOLATIONS[name].change(host)
