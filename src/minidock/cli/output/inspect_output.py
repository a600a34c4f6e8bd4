"""Output of all `inspect` commands: JSON, or a template per object.

A template is first applied to the object as Docker's Go types; if it uses a field that these lack,
to the plain JSON: so both `.ID` and `.Id` work.
"""

from __future__ import annotations

import json

from minidock.cli.frame.error_output import (
    FIELDS_HINT,
    SYNTAX_HINT,
    FormatError,
    FormatSyntaxError,
    print_error,
)
from minidock.cli.output.go_types import in_order, raw, typed
from minidock.cli.output.template.template import Template, TemplateError
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def parsed_template(text: str) -> Template:
    """Parse the template of a --format; raises FormatSyntaxError."""
    try:
        return Template(text)
    except TemplateError as error:
        raise FormatSyntaxError(f"template parsing error: {error}", hint=SYNTAX_HINT) from None


def render_object(template: Template, kind: str, document: object) -> str:
    """Render one object; kind: its Go type, such as "types.ContainerJSON"."""
    try:
        return template.render(typed(kind, document))
    except TemplateError:
        try:
            return template.render(raw(document), missing_key_is_error=True)
        except TemplateError as error:
            raise FormatError(f"template parsing error: {error}", hint=FIELDS_HINT) from None


def inspect_all(
    references: Sequence[str],
    find: Callable[[str], tuple[str, object]],
    *,
    format: str | None,
) -> int:
    """Print the objects, then the errors of those not found; returns the exit code.

    find: reference -> (the object's Go type, its document); raises MinidockError.
    format: a template, "json" for JSON on one line, or None for indented JSON.
    """
    template = parsed_template(format) if format and format != "json" else None
    documents: list[object] = []
    lines: list[str] = []
    errors: list[MinidockError] = []
    for reference in references:
        try:
            kind, document = find(reference)
            if template is None:
                documents.append(in_order(kind, document))
            else:
                lines.append(render_object(template, kind, document))
        except MinidockError as error:
            errors.append(error)
    if template is not None:
        print("\n".join(lines))
    elif format == "json":
        print(json.dumps(documents, separators=(",", ":"), ensure_ascii=False))
    else:
        print(json.dumps(documents, indent=4, ensure_ascii=False))
    for failure in errors:
        print_error(failure)
    return 1 if errors else 0
