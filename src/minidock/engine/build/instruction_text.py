"""The text of an instruction in the progress output: one line, known variables expanded."""

from __future__ import annotations

from minidock.engine.dockerfile.word_expansion import expand_for_display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.dockerfile.instruction import Instruction

_FIRST_LINE_MAX = 60


def format_instruction(instruction: Instruction, variables: dict[str, str]) -> str:
    """Format an instruction: "COPY --from=a /x /y", "RUN <<EOF (echo one...)"."""
    text = instruction.source[len(instruction.written_keyword) :]
    line = expand_for_display(text, variables, escape=instruction.escape)
    if instruction.keyword == "RUN" and len(instruction.heredocs) == 1:
        if len(instruction.text.split()) == 1:
            line += f" ({_first_line(instruction.heredocs[0].content)})"
    return f"{instruction.keyword}{line}"


def _first_line(content: str) -> str:
    """The first line of a here-document, shortened, with "..." if lines follow."""
    lines = content.lstrip().split("\n")
    first = lines[0].rstrip()
    more = len([line for line in lines if line]) > 1 or len(first) > _FIRST_LINE_MAX
    return first[:_FIRST_LINE_MAX] + ("..." if more else "")
