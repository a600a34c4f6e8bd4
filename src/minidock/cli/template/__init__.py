"""Go templates, as --format takes them: `{{.Name}} {{range .Mounts}}{{.Source}} {{end}}`.

Docker's client writes its tables and answers with Go's text/template, and people have learnt it; so
minidock reads the same language. Here it is in four steps, each a file:

    parse.py      text -> a tree of nodes, or where it is no template
    evaluate.py   the tree and a value -> text
    functions.py  what templates call: Go's own (len, index, printf, eq, ...) and Docker's (json,
                  join, split, title, lower, upper, pad, truncate)
    values.py     Go's view of a value: its type's name, how it prints, what is empty
    verbs.py      printf's verbs

A value is what JSON holds (dict, list, str, int, float, bool, None), or a Struct: something with
declared fields, where asking for another one is an error. Not here: templates that define others
({{define}}, {{template}}, {{block}}), and html, js, call and urlquery.

Sources: https://pkg.go.dev/text/template; https://docs.docker.com/go/formatting/; the behaviour of
docker 26.1, against which the tests compare.
"""

from __future__ import annotations

from minidock.cli.template.evaluate import evaluate
from minidock.cli.template.parse import parse
from minidock.cli.template.values import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.template.functions import Function

__all__ = ["Template", "TemplateError"]


class Template:
    """A template that was understood; raises TemplateError if it is none."""

    def __init__(self, text: str) -> None:
        from minidock.cli.template.functions import FUNCTIONS

        self._text = text
        self._nodes = parse(text, FUNCTIONS)

    def render(
        self,
        value: Any,
        *,
        functions: dict[str, Function] | None = None,
        missing_key_is_error: bool = False,
    ) -> str:
        """The text that the template makes of a value; raises TemplateError.

        functions: to be called instead of the usual ones of the same name.
        missing_key_is_error: asking a map for a key that it does not have.
        """
        return evaluate(
            self._text,
            self._nodes,
            value,
            functions=functions or {},
            missing_key_is_error=missing_key_is_error,
        )
