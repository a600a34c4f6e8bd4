"""Parse RUN --mount, and make its part of the step's cache key.

    type=bind     files of the context, a stage or an image; with rw, writes are discarded
    type=cache    a directory that persists between builds
    type=tmpfs    a file system in memory
    type=secret   a file from `build --secret`, on a tmpfs

Source: docs.docker.com/reference/dockerfile "RUN --mount".
"""

from __future__ import annotations

import posixpath

from minidock.comma_separated import read_record
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.word_expansion import expand
from minidock.numerals import atoi, octal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.dockerfile.instruction import Instruction

KINDS = ("bind", "cache", "tmpfs", "secret")
_ALIASES = {
    "src": "source", "dst": "target", "destination": "target", "readonly": "ro",
    "readwrite": "rw",
}  # fmt: skip
_SWITCHES = ("ro", "rw", "required")
_KEYS = {
    "bind": ("source", "target", "from", "ro", "rw"),
    "cache": ("source", "target", "from", "ro", "rw", "id", "sharing", "mode", "uid", "gid"),
    "tmpfs": ("target", "size"),
    "secret": ("source", "target", "id", "required", "mode", "uid", "gid"),
}
_SHARING = ("shared", "private", "locked")


class Mount:
    """A parsed --mount.

    kind: bind, cache, tmpfs or secret. options: the other fields, by their canonical names.
    Set before the step starts: lowers, the layer directories of a bind; scratch, a directory for
    its overlay; host_path, of a cache; content, of a secret; locked, the lock file of a cache.
    """

    def __init__(self, kind: str, options: dict[str, str]) -> None:
        self.kind = kind
        self.options = options
        self.target = options["target"]
        self.lowers: list[str] = []
        self.scratch = ""
        self.host_path = ""
        self.content: bytes | None = None
        self.locked = -1

    @property
    def source(self) -> str:
        """The source path of a bind or cache, relative to the root of its tree."""
        return posixpath.normpath("/" + self.options.get("source", "")).lstrip("/")

    @property
    def writable(self) -> bool:
        if "rw" in self.options:
            return self.options["rw"] != "false"
        return self.kind != "bind" and self.options.get("ro", "false") == "false"

    def number(self, name: str, default: int, base: int = 10) -> int:
        text = self.options.get(name)
        if text is None:
            return default
        try:
            return octal(text) if base == 8 else atoi(text)
        except ValueError:
            raise DockerfileError(f"invalid value {text} for {name}") from None

    def key(self) -> list[object]:
        """Its part of the cache key, without the contents of caches and secrets."""
        return [self.kind, sorted(self.options.items())]


def read_mounts(
    instruction: Instruction, variables: dict[str, str], working_directory: str
) -> list[Mount]:
    """Parse the mounts of a RUN. Raises DockerfileError for an invalid one."""
    return [
        _read(value, variables, working_directory, instruction.escape)
        for name, value in instruction.flags
        if name == "mount"
    ]


def _read(text: str, variables: dict[str, str], working_directory: str, escape: str) -> Mount:
    options: dict[str, str] = {}
    try:
        fields = read_record(text)
    except ValueError as error:
        raise DockerfileError(f"failed to parse csv mounts: {error}") from None
    for field in fields:
        name, equals, value = field.partition("=")
        key = _ALIASES.get(name.lower(), name.lower())
        if not equals and key not in _SWITCHES:
            raise DockerfileError(f"invalid field '{field}' must be a key=value pair")
        options[key] = expand(value, variables, escape=escape) if equals else "true"
    kind = options.pop("type", "bind").lower()
    if kind not in KINDS:
        raise DockerfileError(
            f'unsupported mount type "{kind}"',
            hint="pass keys by --secret and --mount=type=secret" if kind == "ssh" else "",
        )
    for key in options:
        if key not in _KEYS[kind]:
            raise DockerfileError(f"unexpected key '{key}' for mount type '{kind}'")
    if options.get("sharing", "shared") not in _SHARING:
        raise DockerfileError(f'unsupported sharing value "{options["sharing"]}"')
    _complete_target(kind, options, working_directory)
    mount = Mount(kind, options)
    for name, base in (("uid", 10), ("gid", 10), ("mode", 8)):
        mount.number(name, 0, base)
    return mount


def _complete_target(kind: str, options: dict[str, str], working_directory: str) -> None:
    """Set the defaults of a secret's id and target; make the target absolute."""
    if kind == "secret":
        options.setdefault(
            "id", options.pop("source", posixpath.basename(options.get("target", "")))
        )
        if not options["id"]:
            raise DockerfileError("invalid secret mount. one of source, target required")
        options.setdefault("target", f"/run/secrets/{posixpath.basename(options['id'])}")
    given_target = options.get("target", "")
    target = posixpath.normpath(posixpath.join("/", working_directory, given_target))
    options["target"] = "/" + target.lstrip("/")
    if options["target"] == "/" or not given_target:
        raise DockerfileError('invalid mount target "/"', hint="add target=/some/path")
