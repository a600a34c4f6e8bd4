r"""A Dockerfile as a list of instructions.

    # escape=`                  a directive: only at the top, before any other comment or blank line
    RUN --network=none echo a \  continued by the escape character at the line's end
      # a comment between        comments inside an instruction are left out
      b                          -> RUN, flags [("network", "none")], text "echo a   b"

Parsing is the same for all instructions: comments, continued lines, keyword, flags, a JSON list or
text, here-documents. What an instruction's text must look like is in `checks`; what it does to an
image's config, in `config`.

Sources: docs.docker.com/reference/dockerfile "Format"; BuildKit's frontend/dockerfile/parser,
whose answers the tests hold this against.
"""

from __future__ import annotations

from minidock.engine.dockerfile import checks, heredoc
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.instruction import Dockerfile, Instruction
from minidock.engine.dockerfile.shell_words import SPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_DIRECTIVES = ("check", "escape", "syntax")


def parse(text: bytes, *, name: str = "Dockerfile") -> Dockerfile:
    """The instructions of a Dockerfile, each checked by itself (`checks.stages` looks at all).

    Raises DockerfileError in Docker's words, with the line.
    """
    dockerfile = read(text, name=name)
    for instruction in dockerfile.instructions:
        checks.check(instruction)
    return dockerfile


def read(text: bytes, *, name: str = "Dockerfile") -> Dockerfile:
    """The instructions of a Dockerfile, unchecked, their flags unread."""
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
    """The instruction that an image's OnBuild holds."""
    found = parse(text.encode(errors="surrogateescape"), name="ONBUILD").instructions
    if len(found) != 1:
        raise DockerfileError(f"ONBUILD holds {len(found)} instructions instead of one: {text}")
    return found[0]


def _split_lines(text: bytes) -> list[str]:
    """The lines with their line breaks. A byte that is not UTF-8 becomes a lone surrogate."""
    lines = text.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n")
    return [line + "\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _read_directives(dockerfile: Dockerfile, lines: list[str]) -> int:
    """Read the directives at the top; the number of the first line behind them."""
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
    """Read the instruction that begins at a line, if one does; where the next may begin."""
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
    """Read the here-documents that an instruction opens; where the next line is."""
    for document in heredoc.heredocs_of(source):
        start = at
        while at < len(lines) and not document.ends_at(lines[at].rstrip("\r\n")):
            at += 1
        if at == len(lines):
            raise DockerfileError(
                "unterminated heredoc",
                line=instruction.first_line,
                lines=(instruction.first_line, at),
                hint=f"no line says {document.name} alone",
            )
        document.content = "".join(lines[start:at])
        instruction.heredocs.append(document)
        at += 1
    instruction.last_line = at
    return at


def _innermost(instruction: Instruction) -> Instruction:
    """The instruction itself, or what an ONBUILD keeps for later."""
    if instruction.keyword != "ONBUILD" or not instruction.text:
        return instruction
    lines = instruction.first_line, instruction.last_line
    return Instruction(instruction.text, lines, instruction.escape)


def _without_continuation(line: str, escape: str) -> tuple[str, bool]:
    """The line without an escape character at its end, and whether there was one.

    Two of them are no continuation: the first protects the second.
    """
    stripped = line.rstrip(" \t")
    if stripped.endswith(escape) and not stripped.endswith(escape * 2):
        return stripped[:-1], True
    return line, False


def _is_comment(line: str) -> bool:
    return line.lstrip(SPACES).startswith("#")
