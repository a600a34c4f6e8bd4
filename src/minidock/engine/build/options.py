"""What a build is asked to do, and what it gives back."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Secret:
    """A value that RUN steps may see and no layer keeps: a host's file, or a variable's value."""

    def __init__(self, name: str, *, path: str = "", variable: str = "") -> None:
        self.name = name
        self.path = path
        self.variable = variable


class Options:
    """The flags of `build`, read.

    context: a folder, "-" for standard input, or a URL. file: the Dockerfile's path, "-" for
    standard input, "" for the context's own. stdin: where "-" reads from.
    tags: names for the image, in their familiar form. build_args: name -> value.
    network: for RUN steps without --network of their own: "default", "none" or "host"; with "none"
    ADD fetches nothing either. allowed: rights beyond a container's that steps may ask for
    (entitlements.py).
    secrets: by their id. binds: a host's folders for RUN steps, as `run -v` writes them.
    pull: ask the registry even for images that are here.
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
        self.ulimits: list[dict[str, object]] = []
        self.cgroup_parent = ""


class Result:
    """What a build made: an image's id, and what its user should know besides."""

    def __init__(self, image_id: str, warnings: list[str]) -> None:
        self.image_id = image_id
        self.warnings = warnings
