r"""Parse a Dockerfile into a list of instructions.

    # escape=`                  a parser directive: before any other comment or blank line
    RUN --network=none echo a \  continued by the escape character at the line's end
      # a comment between        comments inside an instruction are skipped
      b                          -> RUN, flags [("network", "none")], text "echo a   b"

All instructions share the syntax of comments, continued lines, keyword, flags, JSON array or text,
and here-documents. `checks` validates each kind of instruction, `config` applies it to an image's
config.

Sources: docs.docker.com/reference/dockerfile "Format"; BuildKit's frontend/dockerfile/parser, with
whose results the tests compare.
"""

from __future__ import annotations

from minidock.engine.dockerfile import checks, heredoc
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.instruction import Dockerfile, Instruction
from minidock.engine.dockerfile.word_expansion import SPACES

_DIRECTIVES = ("check", "escape", "syntax")


def parse(text: bytes, *, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile and check each instruction (`checks.stages` checks their order).

    Raises DockerfileError with Docker's message and the line.
    """
    dockerfile = read(text, name=name)
    for instruction in dockerfile.instructions:
        checks.check(instruction)
    return dockerfile


def read(text: bytes, *, name: str = "Dockerfile") -> Dockerfile:
    """Parse a Dockerfile without checking instructions and parsing flags."""
    lines = _split_lines(text)
    if not lines:
        raise DockerfileError("the Dockerfile cannot be empty")
    dockerfile = Dockerfile(name, lines)
    at = _read_directives(dockerfile, lines)
    while at < len(lines):
        at = _read_instruction(dockerfile, lines, at)
    if not dockerfile.instructions:
        raise DockerfileError("file with no instructions", line=1, lines=(1, len(lines)))
    return dockerfile


def parse_trigger(text: str) -> Instruction:
    """Parse the instruction of an ONBUILD trigger."""
    found = parse(text.encode(errors="surrogateescape"), name="ONBUILD").instructions
    if len(found) != 1:
        raise DockerfileError(f"ONBUILD has {len(found)} instructions, expected one: {text}")
    return found[0]


def _split_lines(text: bytes) -> list[str]:
    """Split into lines with their line breaks. Bytes that are not UTF-8 become lone surrogates."""
    lines = text.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n")
    return [line + "\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _read_directives(dockerfile: Dockerfile, lines: list[str]) -> int:
    """Parse the directives at the top; returns the index of the first line after them."""
    seen: set[str] = set()
    for at, line in enumerate(lines):
        comment = line.strip(SPACES)
        name, equals, value = comment[1:].partition("=")
        name = name.strip(SPACES).lower()
        value = value.strip(SPACES)
        if not (comment.startswith("#") and equals and value) or name not in _DIRECTIVES:
            return at
        if name in seen:
            raise DockerfileError(f"only one {name} parser directive can be used", line=at + 1)
        if name == "escape" and value not in ("\\", "`"):
            raise DockerfileError(
                f"invalid escape token '{value}' does not match ` or \\", line=at + 1
            )
        seen.add(name)
        setattr(dockerfile, name, value)
    return len(lines)


def _read_instruction(dockerfile: Dockerfile, lines: list[str], at: int) -> int:
    """Parse the instruction at a line, if any; returns the index of the line after it."""
    escape = dockerfile.escape
    line, is_continued = _without_continuation(lines[at].strip("\r\n").lstrip(SPACES), escape)
    first = at + 1
    at += 1
    if _is_comment(line) or not (line or is_continued):
        return at
    pieces = [line]
    while is_continued and at < len(lines):
        line = lines[at].rstrip("\r\n")
        at += 1
        if not line.strip(SPACES):
            dockerfile.empty_continuations.append(at)
        elif not _is_comment(line):
            line, is_continued = _without_continuation(line, escape)
            pieces.append(line)
    source = "".join(pieces)
    try:
        instruction = Instruction(source, (first, at), escape)
        inner = _innermost(instruction)
        checks.check_syntax(inner)
        if inner.keyword in heredoc.INSTRUCTIONS and inner.json is None:
            at = _read_heredocs(instruction, source, lines, at)
    except DockerfileError as error:
        raise error.at(first, at) from None
    dockerfile.instructions.append(instruction)
    return at


def _read_heredocs(instruction: Instruction, source: str, lines: list[str], at: int) -> int:
    """Read the here-documents of an instruction; returns the index of the line after them."""
    for document in heredoc.heredocs_of(source):
        start = at
        while at < len(lines) and not document.ends_at(lines[at].rstrip("\r\n")):
            at += 1
        if at == len(lines):
            raise DockerfileError(
                "unterminated heredoc",
                line=instruction.first_line,
                lines=(instruction.first_line, at),
                hint=f"no line contains only {document.name}",
            )
        document.content = "".join(lines[start:at])
        instruction.heredocs.append(document)
        at += 1
    instruction.last_line = at
    return at


def _innermost(instruction: Instruction) -> Instruction:
    """The instruction itself, or the trigger of an ONBUILD."""
    if instruction.keyword != "ONBUILD" or not instruction.text:
        return instruction
    lines = instruction.first_line, instruction.last_line
    return Instruction(instruction.text, lines, instruction.escape)


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """The line without a trailing escape character, and whether it had one.

    Two of them do not continue the line: the first escapes the second.
    """
    stripped = line.rstrip(" \t")
    if stripped.endswith(escape) and not stripped.endswith(escape * 2):
        return stripped[:-1], True
    return line, False


def _is_comment(line: str) -> bool:
    return line.lstrip(SPACES).startswith("#")
