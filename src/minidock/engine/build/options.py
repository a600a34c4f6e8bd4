"""The options and the result of a build."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from minidock.document_types.host_config import Ulimit


class Secret:
    """A secret for RUN steps, never stored in a layer: a host file or an environment variable."""

    def __init__(self, name: str, *, path: str = "", variable: str = "") -> None:
        self.name = name
        self.path = path
        self.variable = variable


class Options:
    """The parsed flags of `build`.

    context: a directory, "-" for standard input, or a URL. file: the Dockerfile's path, "-" for
    standard input, "" for the context's own. stdin: the stream for "-".
    tags: names for the image, in their familiar form. build_args: name -> value.
    network: for RUN steps without their own --network: "default", "none" or "host"; with "none",
    ADD fetches nothing. allowed: the entitlements of --allow (entitlements.py).
    secrets: by id. binds: host directories for RUN steps, in the syntax of `run -v`.
    pull: pull base images even if the store has them.
    """

    def __init__(self, context: str) -> None:
        self.context = context
        self.stdin: BinaryIO | None = None
        self.file = ""
        self.tags: list[str] = []
        self.build_args: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.target = ""
        self.no_cache = False
        self.no_cache_stages: list[str] = []
        self.pull = False
        self.network = "default"
        self.allowed: set[str] = set()
        self.extra_hosts: list[str] = []
        self.secrets: dict[str, Secret] = {}
        self.binds: list[str] = []
        self.shm_size_bytes = 0
        self.ulimits: list[Ulimit] = []
        self.cgroup_parent = ""


class Result:
    """The result of a build: the image ID, and warnings."""

    def __init__(self, image_id: str, warnings: list[str]) -> None:
        self.image_id = image_id
        self.warnings = warnings
