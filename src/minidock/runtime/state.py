"""A container's state as the OCI runtime knows it: one small file, and what the kernel says.

state.json holds what does not change (bundle, pid, start time); whether the process still lives is
asked of the kernel each time. A pid alone would lie after a reboot or once it is used again, so it
counts only together with the start time.

Source: OCI runtime-spec "State".
"""

from __future__ import annotations

import os

from minidock import jsontext
from minidock.errors import Conflict, NotFound
from minidock.kernel.process import start_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_VERSION = "1.2.0"


class State:
    """What state.json says.

    directory: <root>/<id>, with state.json and start.fifo.
    """

    def __init__(self, directory: str, content: dict[str, Any]) -> None:
        self.directory = directory
        self.content = content
        self.id: str = content["id"]
        self.pid: int = content["pid"]

    @property
    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if start_time(self.pid) != self.content["startTime"] or _is_zombie(self.pid):
            return "stopped"
        if os.path.exists(f"{self.directory}/start.fifo"):
            return "created"
        return "running"

    def document(self) -> dict[str, Any]:
        """The state as the spec's JSON."""
        status = self.status
        return {
            "ociVersion": OCI_VERSION,
            "id": self.id,
            "status": status,
            "pid": 0 if status == "stopped" else self.pid,
            "bundle": self.content["bundle"],
            "annotations": self.content.get("annotations") or {},
        }


def load(root: str, container_id: str) -> State:
    """The state of a container.

    Raises NotFound.
    """
    directory = f"{root}/{container_id}"
    try:
        with open(f"{directory}/state.json", encoding="utf-8") as file:
            return State(directory, jsontext.loads(file.read()))
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"container {container_id} does not exist") from None


def save(directory: str, content: dict[str, Any]) -> State:
    """Write state.json, whole or not at all."""
    write_atomically(f"{directory}/state.json", jsontext.dumps(content))
    return State(directory, content)


def write_atomically(path: str, text: str) -> None:
    """Replace a file by renaming a finished one over it: a reader sees the old or the new."""
    beside = f"{path}.{os.getpid()}.new"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(beside, path)


def claim(root: str, container_id: str) -> str:
    """Make the directory of a new container; its name is the claim.

    Returns the directory. Raises Conflict where the id is in use.
    """
    directory = f"{root}/{container_id}"
    os.makedirs(root, mode=0o711, exist_ok=True)
    try:
        os.mkdir(directory, 0o711)
    except FileExistsError:
        raise Conflict(
            f"container {container_id} exists already",
            hint="delete it first, or choose another id",
        ) from None
    return directory


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
