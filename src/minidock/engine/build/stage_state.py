"""The state of a stage: its layers, image config, history and variables.

Each instruction updates the state. A stage that begins from another stage begins with a copy of
that one's final state.

Source: OCI image-spec config.md; the image configs that BuildKit writes.
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

    from minidock.document_types.container import ContainerConfig
    from minidock.document_types.image import HistoryEntry, ImageConfig
    from minidock.engine.image.image import Image
    from minidock.paths import Store

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"  # BuildKit's comment in history entries
_HISTORY_MAX = 8 << 20  # characters
_SCRATCH_CONFIG = {"Env": [f"PATH={DEFAULT_PATH}"], "WorkingDir": "/"}


class State:
    """The state of a stage after an instruction.

    diff_ids, chain_ids: its layers, lowest first. config: the image's run config.
    history: the image's; entries without a layer lack "created". base_id, base_name: the base
    image, "" and "scratch" for none. variables: ENV and ARG so far, a later one wins; used to
    expand $NAME and as the environment of RUN. build_args: all ARGs so far, for the history.
    """

    def __init__(self) -> None:
        self.base_id = ""
        self.base_name = "scratch"
        self.architecture = image_config.host_architecture()
        self.variant = ""
        self.author = ""
        self.diff_ids: list[str] = []
        self.config: ContainerConfig = jsontext.loads(jsontext.dumps(_SCRATCH_CONFIG))
        self.history: list[HistoryEntry] = []
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
        state.history = [entry.copy() for entry in config.get("history") or []]
        state.variables = dict(
            entry.partition("=")[::2] for entry in state.config.get("Env") or [] if "=" in entry
        )
        return state

    def copy(self) -> State:
        """A copy for a stage that begins from this one; ARGs keep their values."""
        copied = State()
        copied.base_id = self.base_id
        copied.base_name = self.base_name
        copied.architecture = self.architecture
        copied.variant = self.variant
        copied.author = self.author
        copied.diff_ids = list(self.diff_ids)
        copied.config = jsontext.loads(jsontext.dumps(self.config))
        copied.history = [entry.copy() for entry in self.history]
        copied.variables = dict(self.variables)
        copied._history_size = self._history_size
        return copied

    @property
    def chain_ids(self) -> list[str]:
        return chain_ids(self.diff_ids)

    @property
    def top(self) -> str:
        """The ChainID of all layers, "" for none; a part of cache keys."""
        chain = self.chain_ids
        return chain[-1] if chain else ""

    def directories(self, store: Store) -> list[str]:
        """The directories of its layers, lowest first."""
        return [f"{store.layer(chain_id)}/diff" for chain_id in self.chain_ids]

    def note(self, created_by: str) -> None:
        """Add the history entry of an instruction without a layer."""
        self._add({"created_by": created_by, "comment": COMMENT, "empty_layer": True})

    def _add(self, entry: HistoryEntry) -> None:
        """Add a history entry; raises DockerfileError if the history gets too long."""
        self._history_size += len(entry["created_by"])
        if self._history_size > _HISTORY_MAX:
            raise DockerfileError(f"the image's history is longer than {_HISTORY_MAX >> 20} MiB")
        self.history.append(entry)

    def add_layer(self, diff_id: str, created: str, created_by: str) -> None:
        """Add a layer and its history entry. created: the time at which the layer was made."""
        self.diff_ids.append(diff_id)
        self._add({"created": created, "created_by": created_by, "comment": COMMENT})

    @property
    def environment(self) -> list[str]:
        return [f"{name}={value}" for name, value in self.variables.items()]

    @property
    def working_directory(self) -> str:
        return self.config.get("WorkingDir") or "/"


def image_document(state: State, labels: dict[str, str]) -> ImageConfig:
    """The image config of a state, as BuildKit writes it.

    labels: those of --label, which override the others.
    "created" is that of the last layer, so that a fully cached build makes the same image again.
    """
    run = state.config.copy()
    if labels:
        run["Labels"] = {**(run.get("Labels") or {}), **labels}
    history = _with_times(state.history)
    created = history[-1].get("created") if history else None
    document: ImageConfig = {
        "architecture": state.architecture,
        "config": _without_unset(run),
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


def _without_unset(run: ContainerConfig) -> ContainerConfig:
    """A run config without its empty fields; 0 and false are values here."""
    fields: Any = run  # a TypedDict cannot be filtered by names that are not literals
    fields = {name: value for name, value in fields.items() if value not in (None, "", {}, [])}
    kept: ContainerConfig = fields
    return kept


def _with_times(history: list[HistoryEntry]) -> list[HistoryEntry]:
    """Fill in missing "created" times: an entry gets that of the preceding layer.

    Entries before the first new layer get the time of that layer, not that of the base image.
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
