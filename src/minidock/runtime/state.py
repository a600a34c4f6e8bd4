"""A container's OCI state: state.json for what is constant, the kernel for the status.

state.json holds the bundle, init's pid and start time, and the cgroup. The status is derived from
the kernel each time:

    creating   no pid is recorded: create is running, or died
    created    start.fifo exists, and init has it open
    paused     its cgroup is frozen
    running    otherwise
    stopped    init is a zombie or has been reaped

The kernel reuses pids, so a pid counts only together with its process's start time.

Source: OCI runtime-spec "State".
"""

from __future__ import annotations

import os
import time
from errno import ENXIO

from minidock import document, jsontext
from minidock.document import Each
from minidock.errors import Conflict, DamagedFile, NotFound, UsageError
from minidock.kernel.cgroup import Cgroup
from minidock.kernel.cgroup_tree import open_cgroup
from minidock.runtime.release import OCI_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document import Shape
    from minidock.document_types.runtime_spec import OciState, StateDocument

_SHAPE: Shape = {
    "id": str, "pid": int, "startTime?": int, "bundle": str, "cgroup": [str], "rootfs?": str,
    "created?": str, "annotations?": Each(str), "hooks?": dict, "keyring?": str,
}  # fmt: skip
_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class State:
    """The content of state.json.

    directory: <root>/<id>, with state.json and start.fifo.
    """

    def __init__(self, directory: str, content: StateDocument) -> None:
        self.directory = directory
        self.content = content
        self.id = content["id"]
        self.pid = content["pid"]

    @property
    def cgroup(self) -> Cgroup:
        """The container's cgroup."""
        parent, name = self.content["cgroup"]
        return open_cgroup(parent, name)

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not self.pid:
            return "creating"
        if not is_alive(self.pid, self.content["startTime"]):
            return "stopped"
        if self._is_waiting():
            return "created"
        group = self.cgroup
        return "paused" if group.exists() and group.frozen() else "running"

    def _is_waiting(self) -> bool:
        """Whether init waits for `start`: only init has the FIFO open for reading."""
        try:
            os.close(os.open(f"{self.directory}/start.fifo", os.O_WRONLY | os.O_NONBLOCK))
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno == ENXIO:  # `start` was killed just before it could remove the FIFO
                return False
            raise
        return True

    def open_pidfd(self) -> int:
        """A pidfd of init, and not of a later process with the same pid.

        The start time is checked while the pidfd is open: if it matches, the pidfd refers to init.
        Raises Conflict if init has exited.
        """
        ended = Conflict(f"container {self.id} is not running")
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            raise ended from None
        if is_alive(self.pid, self.content["startTime"]):
            return pidfd
        os.close(pidfd)
        raise ended

    def document(self, status: str = "") -> OciState:
        """The OCI state as JSON, with runc's additions.

        status: overrides the derived one, for hooks, which run between two states.
        """
        status = status or self.status
        fields: OciState = {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.content["bundle"],
            "rootfs": self.content.get("rootfs", ""),
            "created": self.content.get("created", ""),
        }
        if self.content.get("annotations"):
            fields["annotations"] = self.content["annotations"]
        fields["owner"] = ""
        return fields


def is_alive(pid: int, start_time: int) -> bool:
    """Whether a process with this pid and start time runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in (b"Z", b"X") and int(fields[19]) == start_time


def directory_of(root: str, container_id: str) -> str:
    """The state directory of a container.

    Raises UsageError for an invalid id, since it becomes part of paths.
    """
    if not container_id or container_id in (".", "..") or not _ID_LETTERS.issuperset(container_id):
        raise UsageError("invalid container ID format")
    return f"{root}/{container_id}"


def load(root: str, container_id: str) -> State:
    """The state of a container.

    Raises NotFound, DamagedFile, UsageError for an invalid id.
    """
    directory = directory_of(root, container_id)
    path = f"{directory}/state.json"
    try:
        content: StateDocument = document.read(path, _SHAPE)
    except FileNotFoundError:
        raise NotFound("container does not exist") from None
    if content["id"] != container_id or len(content["cgroup"]) != 2:
        raise DamagedFile(path, "it belongs to another container")
    if content["pid"] and "startTime" not in content:
        raise DamagedFile(path, "startTime is missing")
    return State(directory, content)


def save(directory: str, content: StateDocument) -> State:
    """Write state.json atomically."""
    document.write(f"{directory}/state.json", jsontext.dumps(content), durable=False)  # in /run
    return State(directory, content)


def list_states(root: str) -> list[State]:
    """The containers of a root, sorted by id; skips damaged ones."""
    found = []
    for name in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        try:
            found.append(load(root, name))
        except NotFound:
            continue
        except DamagedFile as error:
            document.report_skipped(error)
    return found


def claim(root: str, container_id: str) -> str:
    """Create the state directory of a new container, which reserves its id.

    Returns the directory. Raises Conflict if the id is in use, UsageError for an invalid id.
    """
    directory = directory_of(root, container_id)
    os.makedirs(root, mode=0o711, exist_ok=True)
    try:
        os.mkdir(directory, 0o711)
    except FileExistsError:
        raise Conflict(
            "container with given ID already exists",
            hint="delete it first, or choose another id",
        ) from None
    return directory


def now() -> str:
    """The time in RFC 3339 with nanoseconds, UTC, as runc writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    fraction = f"{nanoseconds:09d}".rstrip("0") or "0"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction}Z"
