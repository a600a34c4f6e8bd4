"""Check the syntax of each instruction, and group instructions into stages.

The whole Dockerfile is checked before the build starts, including unused stages. Values are not
checked here: their variables are not expanded yet.

Source: BuildKit's frontend/dockerfile/instructions, with whose results the tests compare.
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.flags import BOOLEAN, ONCE, REPEATABLE, read_flags
from minidock.engine.dockerfile.health import parse_healthcheck
from minidock.engine.dockerfile.heredoc import heredoc_of
from minidock.engine.dockerfile.pairs import is_legacy_form, name_values, quoted_words
from minidock.engine.dockerfile.suggest import did_you_mean
from minidock.engine.dockerfile.word_expansion import go_quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.engine.dockerfile.instruction import Dockerfile, Instruction

_COPY = {"chmod": ONCE, "chown": ONCE, "from": ONCE, "link": BOOLEAN}
_ADD = {"checksum": ONCE, "chmod": ONCE, "chown": ONCE, "keep-git-dir": BOOLEAN, "link": BOOLEAN}
_HEALTH = ("interval", "retries", "start-interval", "start-period", "timeout")
FLAGS: Mapping[str, Mapping[str, str]] = {
    "ADD": _ADD,
    "ARG": {},
    "CMD": {},
    "COPY": _COPY,
    "ENTRYPOINT": {},
    "ENV": {},
    "EXPOSE": {},
    "FROM": {"platform": ONCE},
    "HEALTHCHECK": dict.fromkeys(_HEALTH, ONCE),
    "LABEL": {},
    "MAINTAINER": {},
    "ONBUILD": {},
    "RUN": {"mount": REPEATABLE, "network": ONCE},
    "SHELL": {},
    "STOPSIGNAL": {},
    "USER": {},
    "VOLUME": {},
    "WORKDIR": {},
}
_ONE_ARGUMENT = ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR")
_SOME_ARGUMENTS = ("ARG", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "SHELL", "VOLUME")
_NETWORKS = ("default", "host", "none")
_FLAGS_CHECKED_FIRST = ("ENV", "LABEL", "SHELL")  # the order decides which error Docker reports
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_STANDARD_SYNTAX = ("docker/dockerfile", "docker/dockerfile-upstream")


class Stage:
    """One stage: from a FROM to the next.

    name: in lower case, "" for none. base: as written in FROM, variables not expanded.
    """

    def __init__(self, start: Instruction) -> None:
        words = start.words()
        self.start = start
        self.base = words[0]
        self.name = words[2].lower() if len(words) == 3 else ""
        self.platform = start.flag("platform")
        self.instructions: list[Instruction] = []


def stages(dockerfile: Dockerfile) -> tuple[list[Instruction], list[Stage]]:
    """The ARGs before the first FROM, and the stages.

    Raises DockerfileError for an instruction before FROM, and for an unsupported "# syntax=".
    """
    _check_syntax(dockerfile)
    global_args: list[Instruction] = []
    found: list[Stage] = []
    for instruction in dockerfile.instructions:
        if instruction.keyword == "FROM":
            found.append(Stage(instruction))
        elif found:
            found[-1].instructions.append(instruction)
        elif instruction.keyword == "ARG":
            global_args.append(instruction)
        else:
            raise DockerfileError(
                "no build stage in current context",
                hint="a Dockerfile begins with FROM; only ARG may precede it",
            ).at(instruction.first_line, instruction.last_line)
    if not found:
        raise DockerfileError("dockerfile contains no stages to build", line=1)
    return global_args, found


def check_syntax(instruction: Instruction) -> None:
    """Raise DockerfileError for an ENV or LABEL without name=value pairs.

    Docker's parser checks this, so it is checked for the whole file before the other rules.
    """
    if instruction.keyword not in ("ENV", "LABEL"):
        return
    text, escape = instruction.text, instruction.escape
    words = quoted_words(text, escape=escape)
    if is_legacy_form(words):
        if not name_values(text, escape=escape):
            raise DockerfileError(f"{instruction.keyword} must have two arguments")
        return
    for word in words:
        if "=" not in word:
            raise DockerfileError(
                f"Syntax error - can't find = in {go_quote(word)}. Must be of the form: name=value"
            )


def check(instruction: Instruction) -> None:
    """Parse an instruction's flags and check it. Raises DockerfileError."""
    first, last = instruction.first_line, instruction.last_line
    try:
        _check(instruction)
    except DockerfileError as error:
        message = f"dockerfile parse error on line {first}: {error}"
        raise DockerfileError(
            message, line=first, lines=(first, last), hint=error.hint, reason=str(error)
        ) from None


def _check(instruction: Instruction) -> None:
    keyword = instruction.keyword
    if keyword not in FLAGS:
        raise DockerfileError(
            f"unknown instruction: {instruction.written_keyword}"
            f"{did_you_mean(instruction.written_keyword, FLAGS)}"
        )
    _check_characters(instruction)
    if keyword in _FLAGS_CHECKED_FIRST:
        instruction.flags = read_flags(instruction.raw_flags, FLAGS[keyword])
    _check_number_of_arguments(instruction)
    if keyword in _CHECKS:
        _CHECKS[keyword](instruction)
    instruction.flags = read_flags(instruction.raw_flags, FLAGS[keyword])
    if keyword == "HEALTHCHECK":
        parse_healthcheck(instruction)
    network = instruction.flag("network", "default")
    if keyword == "RUN" and network not in _NETWORKS:
        raise DockerfileError(f"invalid network mode {go_quote(network)}")


def _check_characters(instruction: Instruction) -> None:
    if not (instruction.source.isprintable() or _is_utf8(instruction.source)):
        raise DockerfileError("not UTF-8 text", hint="save the Dockerfile in UTF-8")
    if "\0" in instruction.source or "\0" in "".join(instruction.json or ()):
        raise DockerfileError("an instruction must not contain a NUL character")


def _check_number_of_arguments(instruction: Instruction) -> None:
    keyword = instruction.keyword
    if instruction.text and (instruction.json != [] or keyword == "HEALTHCHECK"):
        return
    if keyword in _ONE_ARGUMENT:
        raise DockerfileError(f"{keyword} requires exactly one argument")
    if keyword in _SOME_ARGUMENTS:
        raise DockerfileError(f"{keyword} requires at least one argument")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_from(instruction: Instruction) -> None:
    words = instruction.words()
    if len(words) != 1 and not (len(words) == 3 and words[1].lower() == "as"):
        raise DockerfileError("FROM requires either one or three arguments")
    if len(words) == 1:
        return
    name = words[2].lower()
    allowed = _LETTERS + "0123456789-_."
    if name[0] not in _LETTERS or not all(character in allowed for character in name):
        raise DockerfileError(
            f"invalid name for build stage: {go_quote(words[2])}, "
            "name can't start with a number or contain symbols"
        )


def _check_copy(instruction: Instruction) -> None:
    words = instruction.words()
    if len(words) < 2:
        raise DockerfileError(
            f"{instruction.keyword} requires at least two arguments, but only one was provided. "
            "Destination could not be determined"
        )
    if instruction.heredocs and heredoc_of(words[-1]):
        raise DockerfileError(f"{instruction.keyword} cannot accept a heredoc as a destination")


def _check_pairs(instruction: Instruction) -> None:
    if not all(name for name, _ in name_values(instruction.text, escape=instruction.escape)):
        raise DockerfileError(f"{instruction.keyword} names can not be blank")


def _check_arg(instruction: Instruction) -> None:
    if any(w.startswith("=") for w in quoted_words(instruction.text, escape=instruction.escape)):
        raise DockerfileError("ARG names can not be blank")


def _check_volume(instruction: Instruction) -> None:
    if not all(word.strip() for word in instruction.words()):
        raise DockerfileError("VOLUME specified can not be an empty string")


def _check_shell(instruction: Instruction) -> None:
    if instruction.json is None:
        raise DockerfileError("SHELL requires the arguments to be in JSON form")


def _check_onbuild(instruction: Instruction) -> None:
    trigger = instruction.words()[0].upper()
    if trigger == "ONBUILD":
        raise DockerfileError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("FROM", "MAINTAINER"):
        raise DockerfileError(f"{trigger} isn't allowed as an ONBUILD trigger")


_CHECKS = {
    "ADD": _check_copy,
    "ARG": _check_arg,
    "COPY": _check_copy,
    "ENV": _check_pairs,
    "FROM": _check_from,
    "LABEL": _check_pairs,
    "ONBUILD": _check_onbuild,
    "SHELL": _check_shell,
    "VOLUME": _check_volume,
}


def _check_syntax(dockerfile: Dockerfile) -> None:
    image = dockerfile.syntax.partition(" ")[0].removeprefix("docker.io/").partition("@")[0]
    if image and image.partition(":")[0] not in _STANDARD_SYNTAX:
        raise DockerfileError(
            f"the syntax directive {dockerfile.syntax} is not supported",
            line=1,
            hint="minidock has a built-in parser for '# syntax=docker/dockerfile:1'",
        )
