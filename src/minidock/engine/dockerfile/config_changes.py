"""Apply the Dockerfile instructions of `commit --change` and `import --change`.

They change an image's config only. `config` applies them; this module adds Docker's differences for
--change: it allows some instructions only, normalises the path of WORKDIR, and makes an empty CMD
the shell alone.

Source: moby builder/dockerfile (BuildFromConfig, dispatchers.go).
"""

from __future__ import annotations

import posixpath

from minidock import jsontext
from minidock.engine.dockerfile import checks, config, parser
from minidock.engine.dockerfile.dockerfile_error import DockerfileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document_types.container import ContainerConfig
    from minidock.engine.dockerfile.instruction import Instruction

ALLOWED = (
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
)


def apply_changes(run_config: ContainerConfig, changes: Iterable[str]) -> ContainerConfig:
    """Apply instructions in order to a copy of an image's run config.

    Raises DockerfileError with Docker's message for an invalid or disallowed instruction.
    """
    changed: ContainerConfig = jsontext.loads(jsontext.dumps(run_config))
    cmd_is_set = False
    for text in changes:
        for instruction in _instructions(text):
            _apply(changed, instruction, cmd_is_set=cmd_is_set)
            cmd_is_set = cmd_is_set or instruction.keyword == "CMD"
    return changed


def _instructions(text: str) -> list[Instruction]:
    content = text.encode(errors="surrogateescape") or b"\n"
    found = parser.read(content, name="--change").instructions
    for instruction in found:
        if instruction.keyword not in ALLOWED:
            raise DockerfileError(
                f"{instruction.written_keyword} is not a valid change command",
                hint=f"allowed instructions: {', '.join(ALLOWED)}",
            )
    for instruction in found:
        try:
            checks.check(instruction)
        except DockerfileError as error:
            raise DockerfileError(error.reason, hint=error.hint) from None
    return found


def _apply(changed: ContainerConfig, instruction: Instruction, *, cmd_is_set: bool) -> None:
    variables = config.environment(changed)
    config.apply(changed, instruction, variables, cmd_is_set=cmd_is_set)
    keyword, has_words = instruction.keyword, bool(instruction.text)
    if keyword == "WORKDIR":
        changed["WorkingDir"] = _clean_path(changed["WorkingDir"])
    elif keyword == "CMD":
        changed.pop("ArgsEscaped")  # only `build` sets it
        if not has_words:
            changed["Cmd"] = list(config.DEFAULT_SHELL)
    elif keyword == "ENTRYPOINT" and not has_words:
        changed["Entrypoint"] = None


def _clean_path(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")
