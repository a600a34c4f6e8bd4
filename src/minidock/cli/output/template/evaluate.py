"""Evaluate the nodes of a template with a value; the result is text.

The pipeline of an action yields a value, which is printed; `if`, `with` and `range` branch on it.
An error names position and node, as text/template does:

    template: :1:2: executing "" at <.Foo>: can't evaluate field Foo in type types.ContainerJSON

Source: text/template/exec.go's documented behaviour (https://pkg.go.dev/text/template).
"""

from __future__ import annotations

from time import process_time

from minidock.cli.output.template import parse
from minidock.cli.output.template.functions import FUNCTIONS, LAZY, suits
from minidock.cli.output.template.values import (
    Nil,
    Struct,
    TemplateError,
    check_length,
    is_true,
    shown,
    type_name,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

    from minidock.cli.output.template.functions import Function

_ABSENT = object()  # the command is the first of its pipeline

# Templates may be untrusted. One that counts to a billion, or doubles a text thirty times, must
# fail before it exhausts memory or time.
_STEPS = 200_000
_SECONDS = 5.0  # of CPU time
_OUTPUT = 64 << 20


class _Break(Exception):
    """{{break}}"""


class _Continue(Exception):
    """{{continue}}"""


def evaluate(
    text: str,
    nodes: list[parse.Node],
    value: object,
    *,
    functions: dict[str, Function],
    missing_key_is_error: bool,
) -> str:
    """Evaluate the nodes with the value; returns text. Raises TemplateError."""
    run = _Run(text, value, {**FUNCTIONS, **functions}, missing_key_is_error)
    run.walk(nodes, value)
    return "".join(run.output)


class _Run:
    """One evaluation: its output so far, and the variables in scope, innermost last."""

    def __init__(
        self, text: str, value: object, functions: dict[str, Function], strict: bool
    ) -> None:
        self.text = text
        self.output: list[str] = []
        self.variables: list[tuple[str, object]] = [("$", value)]
        self.functions = functions
        self.strict = strict
        self.steps = 0
        self.written = 0
        self.end = process_time() + _SECONDS

    def step(self, node: parse.Node) -> None:
        """Count one step; raise if the template takes too many steps, or too long."""
        self.steps += 1
        if self.steps > _STEPS:
            self.fail(node, f"more than {_STEPS} steps")
        if process_time() > self.end:
            self.fail(node, f"more than {_SECONDS:.0f} seconds")

    def write(self, node: parse.Node, text: str) -> None:
        self.written += len(text)
        if self.written > _OUTPUT:
            self.fail(node, f"more than {_OUTPUT >> 20} MiB of output")
        self.output.append(text)

    def fail(self, node: parse.Node, reason: str) -> NoReturn:
        before = self.text[: node.position]
        line = before.count("\n") + 1
        column = node.position - (before.rfind("\n") + 1)
        raise TemplateError(f'template: :{line}:{column}: executing "" at <{node}>: {reason}')

    def walk(self, nodes: list[parse.Node], dot: object) -> None:
        for node in nodes:
            self.step(node)
            if isinstance(node, parse.Text):
                self.write(node, node.shown)
            elif isinstance(node, parse.Pipeline):
                value = self.pipeline(node, dot)
                if not node.names:
                    self.write(node, printed(value))
            elif isinstance(node, parse.Branch):
                self.branch(node, dot)
            else:
                raise _Break if node.shown == "break" else _Continue

    def branch(self, node: parse.Branch, dot: object) -> None:
        known = len(self.variables)
        value = self.pipeline(node.pipeline, dot, is_range=node.kind == "range")
        if node.kind == "range":
            self.range(node, value, dot)
        elif is_true(value):
            self.walk(node.body, value if node.kind == "with" else dot)
        else:
            self.walk(node.otherwise, dot)
        del self.variables[known:]

    def range(self, node: parse.Branch, value: object, dot: object) -> None:
        names = node.pipeline.names
        is_empty = True
        known = len(self.variables)
        for key, item in self.items(node, value):
            is_empty = False
            self.step(node)
            bound = (key, item) if len(names) == 2 else (item,)
            for name, part in zip(names, bound, strict=False):
                self.set(name, part, declares=node.pipeline.declares)
            try:
                self.walk(node.body, item)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[known:]
        if is_empty:
            self.walk(node.otherwise, dot)

    def items(self, node: parse.Branch, value: object) -> Iterator[tuple[object, object]]:
        """Return the items of `range`: index or key, and value."""
        if value is None or isinstance(value, Nil):
            return iter(())
        if isinstance(value, list):
            return iter(enumerate(value))
        if isinstance(value, dict):
            return iter(sorted(value.items()))
        if isinstance(value, int) and not isinstance(value, bool):
            return iter((number, number) for number in range(value))
        self.fail(node.pipeline, f"range can't iterate over {shown(value)}")

    def set(self, name: str, value: object, *, declares: bool) -> None:
        if declares:
            self.variables.append((name, value))
            return
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                self.variables[index] = (name, value)
                return

    def pipeline(self, node: parse.Pipeline, dot: object, *, is_range: bool = False) -> object:
        value: object = _ABSENT
        for command in node.commands:
            value = self.command(command, dot, value)
        if not is_range:
            for name in node.names:
                self.set(name, value, declares=node.declares)
        return value

    def command(self, command: parse.Command, dot: object, final: object) -> object:
        """Call a function or method; the value of the pipeline so far is its last argument."""
        first, *rest = command.operands
        if isinstance(first, parse.Function):
            return self.call(command, first, rest, dot, final)
        if isinstance(first, (parse.Field, parse.Variable, parse.Chain)):
            return self.fields(first, dot, rest, final)
        if rest or final is not _ABSENT:
            self.fail(first, f"can't give argument to non-function {first}")
        if isinstance(first, parse.Nil):
            self.fail(first, "nil is not a command")
        return self.operand(first, dot)

    def operand(self, node: parse.Node, dot: object) -> object:
        if isinstance(node, parse.Dot):
            return dot
        if isinstance(node, parse.Literal):
            if isinstance(node.value, int) and node.value >= 1 << 63:
                self.fail(node, f"{node} overflows int")
            return node.value
        if isinstance(node, parse.Nil):
            return None
        if isinstance(node, parse.Pipeline):
            return self.pipeline(node, dot)
        if isinstance(node, parse.Function):
            return self.call(parse.Command([node]), node, [], dot, _ABSENT)
        assert isinstance(node, (parse.Field, parse.Variable, parse.Chain))
        return self.fields(node, dot, [], _ABSENT)

    def fields(
        self,
        node: parse.Field | parse.Variable | parse.Chain,
        dot: object,
        arguments: list[parse.Node],
        final: object,
    ) -> object:
        """Evaluate `.A.B`, `$x.A.B` or `(…).A.B` field by field; the last may be a method."""
        if isinstance(node, parse.Field):
            value = dot
        elif isinstance(node, parse.Chain):
            value = self.operand(node.of, dot)
        else:
            found = [value for name, value in self.variables if name == node.name]
            if not found:  # used inside its own declaration
                self.fail(node, f"undefined variable: {node.name}")
            value = found[-1]
        given = [self.operand(argument, dot) for argument in arguments]
        given += [] if final is _ABSENT else [final]
        for position, name in enumerate(node.names):
            is_last = position == len(node.names) - 1
            value = self.field(node, value, name, given if is_last else [])
        if given and not node.names:
            self.fail(node, f"can't give argument to non-function {node}")
        return value

    def field(self, node: parse.Node, of: object, name: str, arguments: list[object]) -> object:
        if of is None:
            if self.strict:
                self.fail(node, f'nil data; no entry for key "{name}"')
            return None
        if isinstance(of, Nil) and of.kind == "pointer":
            self.fail(node, f"nil pointer evaluating {of.type_name}.{name}")
        if isinstance(of, Struct):
            return self.struct_field(node, of, name, arguments)
        if not isinstance(of, (dict, Nil)):
            # Without types, the values of a map are interfaces.
            kind = "interface {}" if self.strict else type_name(of)
            self.fail(node, f"can't evaluate field {name} in type {kind}")
        value: object = None
        if isinstance(of, dict) and name in of:
            value = of[name]
        elif self.strict:
            self.fail(node, f'map has no entry for key "{name}"')
        if arguments:
            self.fail(node, f"{name} is not a method but has arguments")
        return value

    def struct_field(
        self, node: parse.Node, of: Struct, name: str, arguments: list[object]
    ) -> object:
        try:
            value = of.field(name)
        except KeyError:
            self.fail(node, f"can't evaluate field {name} in type {type_name(of)}")
        if callable(value):
            return self.method(node, value, name, arguments)
        if arguments:
            self.fail(node, f"{name} has arguments but cannot be invoked as function")
        return value

    def method(
        self, node: parse.Node, method: Callable[..., object], name: str, arguments: list[object]
    ) -> object:
        wanted = method.__code__.co_argcount if hasattr(method, "__code__") else 0
        if len(arguments) != wanted:
            self.fail(
                node,
                f"wrong number of args for {name}: want {wanted} got {len(arguments)}",
            )
        return method(*arguments)

    def call(
        self,
        command: parse.Command,
        function: parse.Function,
        operands: list[parse.Node],
        dot: object,
        final: object,
    ) -> object:
        name = function.shown
        if name in LAZY:  # and, or: stop at the first operand that decides
            return self.shortcut(name, operands, dot, final)
        called = self.functions[name]
        given = len(operands) + (final is not _ABSENT)
        least = len(called.parameters)
        if given < least or (given > least and not called.is_open):
            wanted = f"at least {least}" if called.is_open else str(least)
            self.fail(function, f"wrong number of args for {name}: want {wanted} got {given}")
        arguments: list[object] = []
        for position, operand in enumerate(operands):
            wanted = called.parameters[position] if position < least else "any"
            arguments.append(self.argument(operand, dot, wanted))
        if final is not _ABSENT:
            wanted = called.parameters[-1] if given <= least else "any"
            self.check(command, final, wanted)
            arguments.append(final)
        self.step(command)
        try:
            value = called.act(*arguments)
            if isinstance(value, str):
                check_length(len(value))
            return value
        except ValueError as error:
            self.fail(command, f"error calling {name}: {error}")

    def argument(self, node: parse.Node, dot: object, wanted: str) -> object:
        """Evaluate an operand, for the type of the function's parameter."""
        value = self.operand(node, dot)
        if isinstance(node, parse.Literal) and not suits(value, wanted):
            kind = "integer" if wanted == "int" else wanted
            self.fail(node, f"expected {kind}; found {node}")
        self.check(node, value, wanted)
        return value

    def check(self, node: parse.Node, value: object, wanted: str) -> None:
        if suits(value, wanted):
            return
        if value is None:
            self.fail(node, f"invalid value; expected {wanted}")
        self.fail(node, f"wrong type for value; expected {wanted}; got {type_name(value)}")

    def shortcut(self, name: str, operands: list[parse.Node], dot: object, final: object) -> object:
        value: object = None
        for operand in operands:
            value = self.operand(operand, dot)
            if is_true(value) == (name == "or"):
                return value
        return value if final is _ABSENT else final


def printed(value: object) -> str:
    """Format a value as an action prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, Struct) and value.is_pointer:
        return shown(value).removeprefix("&")
    return shown(value)
