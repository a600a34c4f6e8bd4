"""What a stage has come to: its layers, its config, its history, and the variables in force.

Each instruction makes the next state out of this one. Where a stage begins from another one, it
begins from a copy of what that came to.

Source: OCI image-spec config.md; what BuildKit writes into the configs that it makes.
"""

from __future__ import annotations

from minidock import jsontext
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.store.timestamps import timestamp
from minidock.oci import image_config
from minidock.oci.digest import chain_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.image.image import Image
    from minidock.paths import Store

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"  # what BuildKit says in the history of the images it makes
_HISTORY_MAX = 8 << 20  # characters
_SCRATCH_CONFIG = {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}


class State:
    """One moment of a stage.

    diff_ids, chain_ids: its layers, lowest first. config: the run config of the image to be.
    history: the image's, "created" missing where no layer was made. base_id, base_name: the image
    that it began from, "" and "scratch" for none. variables: what $NAME means and what RUN steps
    find in their environment: ENV's and ARG's, the later wins. build_args: all ARGs so far, for the
    history.
    """

    def __init__(self) -> None:
        self.base_id = ""
        self.base_name = "scratch"
        self.architecture = image_config.host_architecture()
        self.variant = ""
        self.author = ""
        self.diff_ids: list[str] = []
        self.config: dict[str, Any] = jsontext.loads(jsontext.dumps(_SCRATCH_CONFIG))
        self.history: list[dict[str, Any]] = []
        self.variables: dict[str, str] = {"PATH": DEFAULT_PATH}
        self.build_args: list[tuple[str, str]] = []
        self._history_size = 0

    @classmethod
    def of_image(cls, image: Image, name: str) -> State:
        """The state in which a stage begins from an image."""
        state = cls()
        config = image.config
        state.base_id = image.id
        state.base_name = name
        state.architecture = config.get("architecture") or state.architecture
        state.variant = config.get("variant") or ""
        state.author = config.get("author") or ""
        state.diff_ids = image_config.diff_ids(config)
        state.config = jsontext.loads(jsontext.dumps(config.get("config") or {}))
        state.history = [dict(entry) for entry in config.get("history") or []]
        state.variables = dict(
            entry.partition("=")[::2] for entry in state.config.get("Env") or [] if "=" in entry
        )
        return state

    def copy(self) -> State:
        """The same state, for another stage to go on from: its ARGs keep their values there."""
        copied = State()
        copied.base_id = self.base_id
        copied.base_name = self.base_name
        copied.architecture = self.architecture
        copied.variant = self.variant
        copied.author = self.author
        copied.diff_ids = list(self.diff_ids)
        copied.config = jsontext.loads(jsontext.dumps(self.config))
        copied.history = [dict(entry) for entry in self.history]
        copied.variables = dict(self.variables)
        copied._history_size = self._history_size
        return copied

    @property
    def chain_ids(self) -> list[str]:
        return chain_ids(self.diff_ids)

    @property
    def top(self) -> str:
        """The chain id of all layers together, "" for none: what the cache knows it by."""
        chain = self.chain_ids
        return chain[-1] if chain else ""

    def directories(self, store: Store) -> list[str]:
        """The directories of its layers, lowest first."""
        return [f"{store.layer(chain_id)}/diff" for chain_id in self.chain_ids]

    def note(self, created_by: str) -> None:
        """An instruction that made no layer."""
        self._add({"created_by": created_by, "comment": COMMENT, "empty_layer": True})

    def _add(self, entry: dict[str, Any]) -> None:
        """One more entry; raises DockerfileError for a history that no image needs."""
        self._history_size += len(entry["created_by"])
        if self._history_size > _HISTORY_MAX:
            raise DockerfileError(f"the image's history is longer than {_HISTORY_MAX >> 20} MiB")
        self.history.append(entry)

    def add_layer(self, diff_id: str, created: str, created_by: str) -> None:
        """An instruction that made a layer, or found it in the cache: `created` is its time."""
        self.diff_ids.append(diff_id)
        self._add({"created": created, "created_by": created_by, "comment": COMMENT})

    @property
    def environment(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.variables.items()]

    @property
    def working_directory(self) -> str:
        return self.config.get("WorkingDir") or "/"


def image_document(state: State, labels: dict[str, str]) -> dict[str, Any]:
    """The config of the image that a state is, as BuildKit writes it.

    labels: those of the command line, which come last.
    Its "created" is that of its last layer, so that a build whose every step was cached makes the
    same image again.
    """
    run = dict(state.config)
    if labels:
        run["Labels"] = {**(run.get("Labels") or {}), **labels}
    history = _with_times(state.history)
    created = history[-1].get("created") if history else None
    document: dict[str, Any] = {
        "architecture": state.architecture,
        "config": {name: value for name, value in run.items() if value not in (None, "", {}, [])},
        "created": created or timestamp(),
        "history": history,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": state.diff_ids},
    }
    if state.author:
        document["author"] = state.author
    if state.variant:
        document["variant"] = state.variant
    return document


def _with_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history with a time everywhere: an entry without one gets that of the layer before it.

    Those before the first new layer get that one's, not the base image's.
    """
    created = None
    missing_before = False
    for entry in history:
        if entry.get("created"):
            created = entry["created"]
            if missing_before:
                break
        else:
            missing_before = True
    missing_before = False
    filled = []
    for entry in history:
        if entry.get("created"):
            if missing_before:
                created = entry["created"]
            filled.append(entry)
        else:
            missing_before = True
            filled.append({"created": created, **entry} if created else entry)
    return filled
