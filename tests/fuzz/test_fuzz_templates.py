"""Go templates: whatever --format is given."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent.parent / "unit"))

from test_template import CONTAINER, SAME_OUTPUT

from minidock.cli.frame.error_output import FormatError, FormatSyntaxError
from minidock.cli.output.columns import Row
from minidock.cli.output.inspect_output import parsed_template, render_object
from minidock.cli.output.row_format import format_rows
from support.fuzz import ODD, as_text, corpus, fuzz, made, mutated

_FUNCTIONS = ["and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "index", "slice", "len",
              "print", "println", "printf", "json", "join", "split", "title", "upper", "lower",
              "pad", "truncate", "html"]  # fmt: skip
_FIELDS = [".", ".Id", ".ID", ".Name", ".State", ".State.Pid", ".State.Health", ".Config.Labels",
           ".Config.Env", ".Mounts", ".Nope", ".HostConfig.Ulimits", ".NetworkSettings.Ports",
           ".NetworkSettings.Networks.bridge", ".Label", "$", "$x", "$x.Id"]  # fmt: skip
_NUMBERS = ["0", "1", "-1", "5", "3.5", "1e3", "1e999", "0x1f", "0x", "1_0", "99999999", "9" * 30,
            "1.", ".5", "+5", "'a'", "'\\n'", "'ab'", "\u0661", "9" * 5000]  # fmt: skip
_FORMATS = ["%d", "%s", "%v", "%q", "%x", "%X", "%c", "%U", "%t", "%f", "%e", "%g", "%T", "%%", "%",
            "%*d", "%.*f", "%-5s|", "%05d", "%+d", "% d", "%#x", "%99999999d", "%.99999999f",
            "%[1]d",
            "%[9]*.[2]*[3]f", "%\u0661d", "%p", "%w", "%9999999s", "%.5q", "%-+# 0v"]  # fmt: skip


_PIECES = ["{{break}}", "{{continue}}", "{{/* c */}}", "{{", "}}", "{{end}}", "x\n", "{{else}}",
           "{{else if .}}", '{{define "x"}}', '{{template "x"}}']  # fmt: skip


def _template(chosen: Random, depth: int = 0) -> str:
    """Actions and text, as a person might write them, or a monkey."""
    return "".join(_action(chosen, depth) for _ in range(chosen.randint(1, 4)))


def _action(chosen: Random, depth: int) -> str:
    kind = chosen.randrange(12 if depth < 4 else 7)
    if kind < 4:
        return "{{" + _pipeline(chosen) + "}}"
    if kind == 4:
        return "{{$x " + chosen.choice((":=", "=")) + " " + _pipeline(chosen) + "}}"
    if kind == 5:
        return chosen.choice((*_PIECES, *ODD))
    if kind == 6:
        return "{{- " + _pipeline(chosen) + " -}}"
    body, other = _template(chosen, depth + 1), _template(chosen, depth + 1)
    opening = {7: "if ", 8: "with ", 9: "range ", 10: "range $i, $x := ", 11: "if "}[kind]
    middle = f"{{{{else}}}}{other}" if kind > 9 else ""
    return f"{{{{{opening}{_pipeline(chosen)}}}}}{body}{middle}{{{{end}}}}"


def _pipeline(chosen: Random, depth: int = 0) -> str:
    return " | ".join(_call(chosen, depth) for _ in range(chosen.choice((1, 1, 1, 2, 3))))


def _call(chosen: Random, depth: int) -> str:
    if chosen.random() < 0.3:
        return _operand(chosen, depth)
    name = chosen.choice((*_FUNCTIONS, "printf", "printf"))
    words = [_operand(chosen, depth) for _ in range(chosen.randrange(4))]
    if name == "printf" and chosen.random() < 0.9:
        words.insert(0, _quote("".join(chosen.choices((*_FORMATS, *_FORMATS, *ODD), k=3))))
    return " ".join((name, *words))


def _operand(chosen: Random, depth: int) -> str:
    kind = chosen.randrange(12)
    if kind < 2 and depth < 4:
        tail = chosen.choice(("", "", ".Id", ".a.b"))
        return f"({_pipeline(chosen, depth + 1)}){tail}"
    if kind < 6:
        return chosen.choice(_FIELDS)
    if kind < 9:
        return chosen.choice(_NUMBERS)
    if kind == 9:
        return chosen.choice(("nil", "true", "false", "`raw`", *_FUNCTIONS))
    return _quote(chosen.choice((*ODD, "a,b", "80/tcp")))


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _deep(chosen: Random) -> str:
    opening = chosen.choice(("{{if .}}", "{{range 9}}", "{{if 1}}{{else if 2}}", "(", "{{(", "{{"))
    closing = chosen.choice(("{{end}}", ")", "}}", ""))
    count = chosen.choice((50, 99, 1000, 20000))
    return opening * count + chosen.choice(("", ".", "{{json .}}", ".a")) + closing * count


_any = st.one_of(
    made(_template), made(_template), made(_template), made(_deep),
    mutated(*(text.encode() for text in SAME_OUTPUT)).map(lambda data: as_text(data)),
)  # fmt: skip
_ROW = Row(
    "*formatter.rowContext", {"ID": lambda: "ab", "Names": lambda: "x", "Label": lambda name: name}
)


def _known() -> list[str]:
    return [as_text(data) for data in corpus("templates")]


def test_inspects_templates() -> None:
    def act(text: str) -> None:
        render_object(parsed_template(text), "types.ContainerJSON", CONTAINER)

    fuzz(act, _any, refuses=(FormatError, FormatSyntaxError), known=_known())


def test_tables_templates() -> None:
    def act(text: str) -> None:
        format_rows([_ROW, _ROW], text, {"ID": "CONTAINER ID", "Names": "NAMES"})

    fuzz(act, _any, refuses=FormatError, known=_known())
