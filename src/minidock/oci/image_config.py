"""An image's config: command, user, directory and layers; its digest is the image ID.

The bytes are stored unchanged, since the ID is their digest. When an image enters the store,
`parse` checks once that every field which minidock uses has the type that the spec requires; later
code need not check again.

Source: OCI image-spec config.md; Docker Engine API v1.45 "ImageInspect" and "ContainerConfig".
"""

from __future__ import annotations

from minidock import jsontext
from minidock.errors import ArchiveError
from minidock.oci.digest import is_digest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from minidock.document_types.container import ContainerConfig
    from minidock.document_types.image import ImageConfig

_DEPTH_MAX = 100
JSON_BYTES_MAX = 16 << 20
LAYERS_MAX = 500  # overlayfs's own limit of lower directories (OVL_MAX_STACK)
_STRING_FIELDS = ("architecture", "os", "variant", "created", "author", "comment")
_RUN_STRINGS = ("User", "WorkingDir", "StopSignal", "Hostname", "Domainname", "Image")
_RUN_LISTS = ("Env", "Cmd", "Entrypoint", "OnBuild", "Shell")
_RUN_TABLES = ("Labels",)
_RUN_SETS = ("ExposedPorts", "Volumes")

# The fields of Config in `docker inspect`, in its order, with their defaults; None: left out if
# empty.
_SHOWN: tuple[tuple[str, object, bool], ...] = (
    ("Hostname", "", True),
    ("Domainname", "", True),
    ("User", "", True),
    ("AttachStdin", False, True),
    ("AttachStdout", False, True),
    ("AttachStderr", False, True),
    ("ExposedPorts", None, False),
    ("Tty", False, True),
    ("OpenStdin", False, True),
    ("StdinOnce", False, True),
    ("Env", None, True),
    ("Cmd", None, True),
    ("Healthcheck", None, False),
    ("ArgsEscaped", False, False),
    ("Image", "", True),
    ("Volumes", None, True),
    ("WorkingDir", "", True),
    ("Entrypoint", None, True),
    ("NetworkDisabled", False, False),
    ("MacAddress", "", False),
    ("OnBuild", None, True),
    ("Labels", None, True),
    ("StopSignal", "", False),
    ("StopTimeout", None, False),
    ("Shell", None, False),
)


def load_json(content: bytes, *, what: str) -> Any:  # whatever the JSON is
    """Parse a JSON document of an archive. Raises ArchiveError, also for too deep nesting."""
    if len(content) > JSON_BYTES_MAX:
        raise ArchiveError(f"{what} is larger than {JSON_BYTES_MAX >> 20} MiB")
    try:
        value = jsontext.loads(content)
        jsontext.dumps(value).encode()
        _check_depth(value)
    except ValueError as error:
        raise ArchiveError(f"{what} is not JSON: {error}") from None
    return value


def _check_depth(value: object) -> None:
    """Raise ValueError for a document that is nested too deeply to walk through."""
    level = [value]
    for _ in range(_DEPTH_MAX):
        inner: list[object] = []
        for part in level:
            if isinstance(part, (dict, list)):
                inner += part.values() if isinstance(part, dict) else part
        if not inner:
            return
        level = inner
    raise ValueError("it is nested too deeply")


def parse(content: bytes) -> ImageConfig:
    """Parse a config, and check that every known field has the type that the spec requires.

    Raises ArchiveError, which names the field.
    """
    parsed: ImageConfig = load_json(content, what="the image's config")
    config: object = parsed  # until it was checked
    if not isinstance(config, dict):
        raise ArchiveError("the image's config is not a JSON object")
    for field in _STRING_FIELDS:
        _check(config, field, _is_text_or_none, "a string")
    _check(config, "created", _is_moment_or_none, "a time such as 2024-05-01T12:00:00Z")
    if config.get("os") not in (None, "", "linux"):
        raise ArchiveError(
            f"the image is for the system {config['os']!r}; minidock runs linux images"
        )
    _check_rootfs(config)
    _check_history(config)
    run = config.get("config")
    if run is not None:
        if not isinstance(run, dict):
            raise ArchiveError("the image's config is damaged: config is not an object")
        _check_run_config(run)
    return parsed


def diff_ids(config: ImageConfig) -> list[str]:
    """Return the digests of the layers' archives, lowest first, of a parsed config."""
    return list(config["rootfs"].get("diff_ids") or ())


def normalised(run: ContainerConfig | None) -> ContainerConfig:
    """Return the run part of the config like `docker inspect`: all fields, in Docker's order."""
    given: Mapping[str, object] = run or {}
    shown: Any = {}  # a ContainerConfig, field by field
    for field, empty, always in _SHOWN:
        value = given.get(field)
        if value or always:
            shown[field] = empty if value is None else value
    config: ContainerConfig = shown
    return config


def host_architecture() -> str:
    """Return this machine's architecture in the form of images: amd64, arm64."""
    import os

    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _check_rootfs(config: Mapping[str, object]) -> None:
    rootfs = config.get("rootfs")
    layers = rootfs.get("diff_ids") if isinstance(rootfs, dict) else 0
    if not (layers is None or (isinstance(layers, list) and all(map(is_digest, layers)))):
        raise ArchiveError(
            "the image's config is damaged: rootfs.diff_ids is not a list of sha256 digests"
        )
    if layers and len(layers) > LAYERS_MAX:
        raise ArchiveError(f"the image has {len(layers)} layers; overlayfs takes {LAYERS_MAX}")


def _check_history(config: Mapping[str, object]) -> None:
    history = config.get("history")
    if history is None:
        return
    if not isinstance(history, list) or not all(isinstance(item, dict) for item in history):
        raise ArchiveError("the image's config is damaged: history is not a list of objects")
    for item in history:
        for field in ("created", "created_by", "author", "comment"):
            _check(item, field, _is_text_or_none, "a string", where="history")
        _check(item, "created", _is_moment_or_none, "a time", where="history")
        _check(item, "empty_layer", lambda v: v is None or isinstance(v, bool), "true or false")


def _check_run_config(run: Mapping[str, object]) -> None:
    for field in _RUN_STRINGS:
        _check(run, field, _is_text_or_none, "a string", where="config")
    for field in _RUN_LISTS:
        _check(run, field, _is_list_of_text, "a list of strings", where="config")
    for field in _RUN_TABLES:
        _check(run, field, _is_table_of_text, "a table of strings", where="config")
    for field in _RUN_SETS:
        _check(run, field, lambda v: v is None or isinstance(v, dict), "an object", where="config")
    _check(run, "StopTimeout", lambda v: v is None or _is_int(v), "a number", where="config")
    health = run.get("Healthcheck")
    if health is None:
        return
    if not isinstance(health, dict) or not _is_list_of_text(health.get("Test")):
        raise ArchiveError("the image's config is damaged: config.Healthcheck")
    for field in ("Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"):
        _check(health, field, lambda v: v is None or _is_int(v), "a number", where="Healthcheck")


def _check(
    document: Mapping[str, object],
    field: str,
    is_valid: Callable[[object], bool],
    kind: str,
    *,
    where: str = "",
) -> None:
    if not is_valid(document.get(field)):
        place = f"{where}.{field}" if where else field
        raise ArchiveError(f"the image's config is damaged: {place} is not {kind}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    """Whether it is a string for a process's argument or variable: UTF-8, without NUL."""
    return isinstance(value, str) and "\0" not in value and _encodes(value)


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, valid in JSON, not in UTF-8
        return False
    return True


def _is_text_or_none(value: object) -> bool:
    return value is None or _is_text(value)


def _is_moment_or_none(value: object) -> bool:
    """Whether it is a time by RFC 3339; Python would also accept other ISO 8601 forms."""
    from datetime import datetime

    if not value:
        return True
    if not isinstance(value, str):
        return False
    try:
        return value[10:11] in "Tt" and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_list_of_text(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(map(_is_text, value)))


def _is_table_of_text(value: object) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(_is_text(name) and _is_text(text) for name, text in value.items())
    )
