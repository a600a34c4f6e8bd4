"""Find out where a run would fail, without effects.

    a port       is it in use, is the address this host's?      the kernel's list of sockets
    a tmpfs      does the kernel accept its options?            fsopen(2), without a mount
    the command  is it in the image, or in a mount?             layers, bind mounts

A plan ends with the operation that would fail, and with the error of the run. What cannot be known
is not an error: if a mount may contain the command, or only root may check, a note says so.

Sources: bind(2), fsconfig(2), execvp(3).
"""

from __future__ import annotations

import os
import stat
from errno import EADDRINUSE, EADDRNOTAVAIL, EPERM
from ipaddress import ip_address

from minidock.errors import CommandNotFound, CommandNotRunnable, KernelError, MinidockError
from minidock.kernel import fs_context, sock_diag
from minidock.kernel.netlink import Netlink
from minidock.kernel.tmpfs import mode_option
from minidock.runtime.process_config import choose_command, complete_environment, find_command
from minidock.runtime.program import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import Mount, RuntimeConfig
    from minidock.runtime.program import Step
    from minidock.teach.plan.planned_ops import PlannedOp
    from minidock.teach.plan.rootfs import Layers


class RunFails(Exception):
    """The run would fail here. error: its error."""

    def __init__(self, error: MinidockError) -> None:
        super().__init__(str(error))
        self.error = error


class Ports:
    """The ports of this host in use, by existing sockets and by those of the plan."""

    def __init__(self) -> None:
        self._taken: dict[str, list[sock_diag.BoundPort]] = {}

    def refusal(self, address: str, port: int, protocol: str) -> KernelError | None:
        """The error that bind(2) would return, or None; the port then counts as in use."""
        taken = self._taken.setdefault(protocol, [])
        if not taken:
            taken += sock_diag.bound_ports(protocol)
        number = 0
        if not _is_here(address):
            number = EADDRNOTAVAIL
        elif port and any(each.conflicts(address, port) for each in taken):
            number = EADDRINUSE
        if number:
            return KernelError("bind(2)", f"{address} port {port} {protocol}", number)
        taken.append(sock_diag.BoundPort(address, port, is_both=False))
        return None


def _is_here(address: str) -> bool:
    """Whether this host has an address that bind(2) accepts."""
    known = ip_address(address)
    if known.is_unspecified or known.is_loopback:
        return True
    from minidock.kernel.interfaces import interfaces  # rarely needed: -p with a host address

    here = [one.partition("/")[0] for each in interfaces() for one in each["addresses"]]
    return str(known) in here


def refused_tmpfs(act: PlannedOp) -> KernelError | None:
    """The error that mount(2) would return for a tmpfs's options, or None.

    It sets the options in a filesystem context (fsopen(2)) that is never mounted.
    Raises PermissionError if only root may check.
    """
    data = act.arguments.get("data")
    if act.op.name != "mount.mount_filesystem" or act.arguments["fstype"] != "tmpfs" or not data:
        return None
    try:
        fs_context.check_options("tmpfs", str(data))
    except KernelError as error:
        if error.errno == EPERM:
            raise PermissionError(EPERM, "fsopen") from None
        return KernelError("mount(2)", f"tmpfs on {act.arguments['target']}", error.errno or 0)
    return None


class Unknown(Exception):
    """It cannot be known before the run: a mount may contain it."""


class Commands:
    """Look up a run's command in PATH. config: the OCI config.json. layers: the image's."""

    def __init__(self, config: RuntimeConfig, layers: Layers) -> None:
        self._spec = config["process"]
        self._mounts = sorted(
            ((entry["destination"], entry) for entry in config.get("mounts") or ()),
            key=lambda each: len(each[0]),
            reverse=True,
        )
        self._layers = layers

    def find(self, name: str) -> str:
        """The command's path. Raises Unknown, CommandNotFound or CommandNotRunnable."""
        return choose_command(name, self._spec.get("env") or [], self._look)

    def _look(self, path: str) -> str:
        mode = self._mode(path)
        if mode is None:
            return ""
        if stat.S_ISDIR(mode.st_mode):
            return "directory"
        return "program" if self._may_execute(mode) else "refused"

    def _mode(self, path: str) -> os.stat_result | None:
        """The result of stat(2) inside: from the image, or from a bind mount over it."""
        at = self._layers.resolve(os.path.join(self._spec["cwd"], path))
        for destination, entry in self._mounts:
            if at == destination or at.startswith(f"{destination.rstrip('/')}/"):
                return _in_mount(entry, at[len(destination.rstrip("/")) :])
        return self._layers.stat(at)

    def _may_execute(self, status: os.stat_result) -> bool:
        user = self._spec["user"]
        groups = [user["gid"], *(user.get("additionalGids") or [])]
        held = (self._spec.get("capabilities") or {}).get("effective") or []
        if user["uid"] == 0 and "CAP_DAC_OVERRIDE" in held:
            return bool(status.st_mode & 0o111)
        if user["uid"] == status.st_uid:
            return bool(status.st_mode & 0o100)
        return bool(status.st_mode & (0o010 if status.st_gid in groups else 0o001))


def _in_mount(entry: Mount, rest: str) -> os.stat_result | None:
    """stat(2) of a path in a mount. Raises Unknown if the host cannot see its content."""
    if entry["type"] == "tmpfs" and "tmpcopyup" not in entry["options"]:
        return None
    if entry["type"] != "bind":
        raise Unknown
    try:
        status = os.lstat(entry["source"] + rest)
    except (FileNotFoundError, NotADirectoryError):
        if os.path.isdir(entry["source"]) and os.listdir(entry["source"]):
            return None
        raise Unknown from None  # an empty volume gets a copy of the image's files
    except PermissionError:
        raise Unknown from None
    if stat.S_ISLNK(status.st_mode):
        raise Unknown
    return status


class StepResults:
    """The results of init's steps that are not ops, from the layers.

    config: the OCI config.json. notes: collects what could not be checked. is_unknown: whether the
    layers cannot be read.
    """

    def __init__(
        self, config: RuntimeConfig, layers: Layers, notes: list[str], *, is_unknown: bool
    ) -> None:
        self._layers = layers
        self._commands = Commands(config, layers)
        self._spec = config["process"]
        self._notes = notes
        self._is_unknown = is_unknown

    def __call__(self, step: Step) -> object:
        if step.act is Netlink:
            return ""
        if step.act is mode_option:
            return self._tmpfs_options(*step.args)
        if step.act is find_command:
            return self._command(step.args[0])
        if step.act is complete_environment:
            return self._spec["env"]
        return Slot(step.into)

    def _tmpfs_options(self, rootfs: str, target: str, data: str) -> str:
        mode = self._layers.mode(target)
        options = [] if mode is None else [f"mode={stat.S_IMODE(mode):04o}"]
        return ",".join([*options, *([data] if data else [])])

    def _command(self, name: str) -> str | Slot:
        """Look it up in PATH, in the layers and bind mounts. Raises RunFails if it is missing."""
        if name.startswith("$"):
            return name
        if self._is_unknown:
            return name if "/" in name else Slot("command")
        try:
            return self._commands.find(name)
        except (CommandNotFound, CommandNotRunnable) as error:
            raise RunFails(error) from None
        except Unknown:
            self._notes.append(
                f"{name} may be in a mount, which is not searched: the run may exit with 127"
            )
            return name if "/" in name else Slot("command")
