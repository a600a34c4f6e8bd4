"""A template: parsed once, applied to many values."""

from __future__ import annotations

from minidock.cli.output.template.evaluate import evaluate
from minidock.cli.output.template.parse import parse
from minidock.cli.output.template.values import TemplateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.output.template.functions import Function

__all__ = ["Template", "TemplateError"]


class Template:
    """A parsed template; raises TemplateError for a syntax error."""

    def __init__(self, text: str) -> None:
        from minidock.cli.output.template.functions import FUNCTIONS

        self._text = text
        self._nodes = parse(text, FUNCTIONS)

    def render(
        self,
        value: object,
        *,
        functions: dict[str, Function] | None = None,
        missing_key_is_error: bool = False,
    ) -> str:
        """Apply the template to a value; returns text. Raises TemplateError.

        functions: override the standard functions of the same name.
        missing_key_is_error: raise for a missing key of a map.
        """
        return evaluate(
            self._text,
            self._nodes,
            value,
            functions=functions or {},
            missing_key_is_error=missing_key_is_error,
        )
