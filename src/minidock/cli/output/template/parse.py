"""Parse the text of a template into a tree.

    list      = { text | "{{" action "}}" }
    action    = pipeline | if | with | range | break | continue
    if        = "if" pipeline "}}" list [ "{{else" [ if ] "}}" list ] "{{end}}"   (with: the same)
    range     = "range" pipeline "}}" list [ "{{else}}" list ] "{{end}}"
    pipeline  = [ $x [ "," $y ] ":=" | $x "=" ] command { "|" command }
    command   = operand { " " operand }
    operand   = ( "." | .Field | $x | "text" | `text` | 'c' | 12 | true | nil | function
                | "(" pipeline ")" ) { .Field }

Each node keeps its position, for the errors. Source: https://pkg.go.dev/text/template/parse.
"""

from __future__ import annotations

import re

from minidock.cli.output.template.values import TemplateError, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import NoReturn

_TOKEN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<declare>:=) | (?P<assign>=) | (?P<comma>,) | (?P<pipe>\|) | (?P<open>\() | (?P<close>\))
    | (?P<string>"(?:[^"\\\n]|\\.)*") | (?P<raw>`[^`]*`) | (?P<char>'(?:[^'\\\n]|\\.)+')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]*|0[bB][01_]*|0[oO][0-7_]*
                       |[0-9][0-9_]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+))(?![\w.])
    | (?P<field>\.\w+) | (?P<dot>\.)
    | (?P<variable>\$\w*)
    | (?P<word>[^\W0-9]\w*)
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{2})|([0-3][0-7]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.?))", re.S
)
_KEYWORDS = ("if", "else", "end", "range", "with", "nil", "define", "template", "block", "break",
             "continue")  # fmt: skip
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v",
            "\\": "\\"}  # fmt: skip
MOST_NESTED = 100  # more than templates need, and well below Python's recursion limit
_INT_MIN, _UINT_MAX = -(1 << 63), (1 << 64) - 1


class Node:
    """A part of a template; errors name it by `str(node)`."""

    def __init__(self, position: int, shown: str) -> None:
        self.position = position
        self.shown = shown

    def __str__(self) -> str:
        return self.shown


class Text(Node):
    """The text between actions."""


class Literal(Node):
    """A constant: text, a number, true, false."""

    def __init__(self, position: int, shown: str, value: object) -> None:
        super().__init__(position, shown)
        self.value = value


class Nil(Node):
    """The word nil."""


class Dot(Node):
    """`.`: the current value."""


class Field(Node):
    """`.A.B`: fields of the current value."""

    def __init__(self, position: int, names: list[str]) -> None:
        super().__init__(position, "." + ".".join(names))
        self.names = names


class Variable(Node):
    """`$x.A.B`: a variable, and fields of it."""

    def __init__(self, position: int, name: str, names: list[str]) -> None:
        super().__init__(position, ".".join([name, *names]))
        self.name = name
        self.names = names


class Chain(Node):
    """`(pipeline).A.B`: fields of the value of a pipeline."""

    def __init__(self, position: int, of: Node, names: list[str]) -> None:
        super().__init__(position, f"{of}.{'.'.join(names)}")
        self.of = of
        self.names = names


class Function(Node):
    """A function's name."""


class Command(Node):
    """A function or value, and its arguments."""

    def __init__(self, operands: list[Node]) -> None:
        shown = [f"({o})" if isinstance(o, Pipeline) else str(o) for o in operands]
        super().__init__(operands[0].position, " ".join(shown))
        self.operands = operands


class Pipeline(Node):
    """Commands, each given the one before as its last argument; may set variables."""

    def __init__(
        self, position: int, commands: list[Command], names: list[str], *, declares: bool
    ) -> None:
        sets = f"{', '.join(names)} {':=' if declares else '='} " if names else ""
        super().__init__(position, sets + " | ".join(map(str, commands)))
        self.commands = commands
        self.names = names
        self.declares = declares


class Branch(Node):
    """if, with and range: a pipeline, a body and an else branch."""

    def __init__(
        self, kind: str, position: int, pipeline: Pipeline, body: list[Node], otherwise: list[Node]
    ) -> None:
        super().__init__(position, f"{{{{{kind} {pipeline}}}}}")
        self.kind = kind
        self.pipeline = pipeline
        self.body = body
        self.otherwise = otherwise


class Jump(Node):
    """break and continue."""


class _Action:
    """An action's tokens: (kind, text, position), without insignificant spaces."""

    def __init__(self, parser: _Parser, start: int, tokens: list[tuple[str, str, int]]) -> None:
        self.parser = parser
        self.start = start
        self.tokens = tokens
        self.at = 0

    def peek(self) -> tuple[str, str, int]:
        if self.at < len(self.tokens):
            return self.tokens[self.at]
        return "end", "}}", self.start

    def next(self) -> tuple[str, str, int]:
        token = self.peek()
        self.at += 1
        return token

    def skip_space(self) -> tuple[str, str, int]:
        while self.peek()[0] == "space":
            self.at += 1
        return self.peek()


def parse(text: str, functions: Container[str]) -> list[Node]:
    """Parse a template into nodes; raises TemplateError."""
    return _Parser(text, functions).whole()


class _Parser:
    def __init__(self, text: str, functions: Container[str]) -> None:
        self.text = text
        self.functions = functions
        self.at = 0
        self.variables = ["$"]
        self.ranges = 0
        self.depth = 0

    def enter(self) -> None:
        """Enter a nesting level, up to the maximum."""
        self.depth += 1
        if self.depth > MOST_NESTED:
            self.fail(f"nested more than {MOST_NESTED} levels deep")

    def fail(self, reason: str, position: int | None = None) -> NoReturn:
        end = self.at if position is None else position
        raise TemplateError(f"template: :{self.text.count(chr(10), 0, end) + 1}: {reason}")

    def whole(self) -> list[Node]:
        nodes, stop = self.nodes()
        if stop is not None:
            word = stop.next()[1]
            self._finish(stop, word)
            self.fail(f"unexpected {{{{{word}}}}}", stop.start)
        return nodes

    def nodes(self) -> tuple[list[Node], _Action | None]:
        """Nodes up to {{end}}, {{else}} or the end of the text, and the action that ended them."""
        nodes: list[Node] = []
        while (start := self.text.find("{{", self.at)) >= 0:
            self._text(nodes, start)
            action = self._action(start)
            if action is None:
                continue
            kind, word, position = action.peek()
            if kind == "word" and word in ("end", "else"):
                return nodes, action
            if kind == "word" and word in ("if", "with", "range"):
                nodes.append(self._branch(action))
            elif kind == "word" and word in ("break", "continue"):
                action.next()
                if not self.ranges:
                    self.fail(f"{{{{{word}}}}} outside {{{{range}}}}", position)
                self._finish(action, f"{{{{{word}}}}}")
                nodes.append(Jump(position, word))
            elif kind == "word" and word in ("define", "template", "block"):
                self.fail(f"{{{{{word}}}}} is not available", position)
            else:
                nodes.append(self._pipeline(action, "command"))
        self._text(nodes, len(self.text))
        return nodes, None

    def _text(self, nodes: list[Node], end: int) -> None:
        """Take text up to `end`, without the white space that a following "{{- " trims."""
        piece = self.text[self.at : end]
        if re.match(r"\{\{-[ \t\r\n]", self.text[end : end + 4]):
            piece = piece.rstrip(" \t\r\n")
        if piece:
            nodes.append(Text(self.at, piece))
        self.at = end

    def _action(self, start: int) -> _Action | None:
        """One {{...}}; None for a comment."""
        trims = re.match(r"\{\{-[ \t\r\n]", self.text[start : start + 4])
        self.at = start + (3 if trims else 2)
        comment = re.compile(r"\s*/\*.*?\*/(?=\s+-\}\}|\}\})", re.S).match(self.text, self.at)
        if comment is None and self.text[self.at :].lstrip().startswith("/*"):
            self.fail("unclosed comment")
        if comment is not None:
            self.at = comment.end()
        tokens: list[tuple[str, str, int]] = []
        while not self._at_end(tokens):
            tokens.append(self._token())
        while tokens and tokens[-1][0] == "space":
            tokens.pop()
        action = _Action(self, start, tokens)
        if comment is not None:
            return None
        if action.skip_space()[0] == "end":
            self.fail("missing value for command")
        return action

    def _at_end(self, tokens: list[tuple[str, str, int]]) -> bool:
        """Take the action's closing "}}", and after " -}}" the white space behind it."""
        closing = re.compile(r"[ \t\r\n]-\}\}|\}\}").match(self.text, self.at)
        if closing is None:
            return False
        self.at = closing.end()
        if "-" in closing[0]:
            self.at += len(self.text[self.at :]) - len(self.text[self.at :].lstrip(" \t\r\n"))
        return True

    def _token(self) -> tuple[str, str, int]:
        match = _TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup is None:
            self._bad_token()
        position, self.at = self.at, match.end()
        kind, word = match.lastgroup, match[0]
        if kind == "dot" and self.at == len(self.text):
            self.fail('illegal number syntax: "."')
        follows = self.text[self.at : self.at + 1]
        if kind in ("field", "variable", "word") and follows and follows not in " \t\r\n.,|:)(}=":
            self.fail(f"bad character U+{ord(follows):04X} '{follows}'", position)
        return kind, word, position

    def _bad_token(self) -> NoReturn:
        rest = self.text[self.at :]
        if not rest or rest.startswith("}}"):
            self.fail("unclosed action")
        unclosed = {'"': "quoted string", "`": "raw quoted string", "'": "character constant"}
        if rest[0] in unclosed:
            self.fail(f"unterminated {unclosed[rest[0]]}")
        if rest[0] in "+-0123456789":
            bad = re.match(r"[+-]?[\w.]*", rest)
            self.fail(f'bad number syntax: "{bad[0] if bad else rest[0]}"')
        if rest[0].isascii() and rest[0].isprintable():
            self.fail(f"unexpected {quoted(rest[0])} in operand")
        self.fail(f"unrecognized character in action: U+{ord(rest[0]):04X} '{rest[0]}'")

    def _branch(self, action: _Action) -> Branch:
        """if, with and range up to their {{end}}, with all their {{else}}s."""
        _, kind, position = action.next()
        self.enter()
        known = len(self.variables)
        pipeline = self._pipeline(action, kind)
        self.ranges += kind == "range"
        body, stop = self.nodes()
        self.ranges -= kind == "range"
        otherwise: list[Node] = []
        if stop is not None and stop.next()[1] == "else":
            follows = stop.skip_space()
            if follows[0] == "word" and follows[1] == kind and kind != "range":
                otherwise = [self._branch(stop)]
                del self.variables[known:]
                self.depth -= 1
                return Branch(kind, position, pipeline, body, otherwise)
            self._finish(stop, "else")
            otherwise, stop = self.nodes()
            if stop is not None and stop.next()[1] == "else":
                self.fail("expected end; found {{else}}", stop.start)
        if stop is None:
            self.fail("unexpected EOF")
        self._finish(stop, "end")
        del self.variables[known:]
        self.depth -= 1
        return Branch(kind, position, pipeline, body, otherwise)

    def _finish(self, action: _Action, context: str) -> None:
        token = action.skip_space()
        if token[0] != "end":
            self.fail(f"unexpected {_item(token)} in {context}", action.start)

    def _pipeline(self, action: _Action, context: str, until: str = "end") -> Pipeline:
        position = action.skip_space()[2]
        names, declares = self._declarations(action, context)
        commands: list[Command] = []
        while True:
            kind, _, where = action.skip_space()
            if kind in (until, "end"):
                if kind != until:
                    self.fail("unclosed left paren", action.start)
                if not commands:
                    self.fail(f"missing value for {context}", action.start)
                break
            if kind == "close":
                self.fail("unexpected right paren", where)
            commands.append(self._command(action))
            if action.peek()[0] == "pipe":
                action.next()
        for number, command in enumerate(commands[1:], 2):
            first = command.operands[0]
            if isinstance(first, (Literal, Dot, Nil)):
                self.fail(f"non executable command in pipeline stage {number}", first.position)
        return Pipeline(position, commands, names, declares=declares)

    def _declarations(self, action: _Action, context: str) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, or for range `$i, $x :=`, where the pipeline begins so."""
        start = action.at
        names: list[str] = []
        while action.skip_space()[0] == "variable":
            names.append(action.next()[1])
            kind = action.skip_space()[0]
            if kind == "comma" and context == "range" and len(names) == 1:
                action.next()
                continue
            if kind in ("declare", "assign"):
                action.next()
                if kind == "declare":
                    self.variables += names
                for name in names:
                    self._check_variable(name, action.start)
                return names, kind == "declare"
            break
        action.at = start
        return [], False

    def _check_variable(self, name: str, position: int) -> None:
        if name not in self.variables:
            self.fail(f'undefined variable "{name}"', position)

    def _command(self, action: _Action) -> Command:
        operands: list[Node] = []
        while True:
            action.skip_space()
            operand = self._operand(action)
            if operand is not None:
                operands.append(operand)
            kind, word, position = action.peek()
            if kind == "space":
                continue
            if kind in ("end", "close", "pipe"):
                break
            self.fail(f"unexpected {_item((kind, word, position))} in operand", position)
        if not operands:
            self.fail(f"unexpected {_item((kind, word, position))} in command", action.start)
        return Command(operands)

    def _operand(self, action: _Action) -> Node | None:
        node = self._term(action)
        if node is None or action.peek()[0] != "field":
            return node
        position = action.peek()[2]
        names = []
        while action.peek()[0] == "field":
            names.append(action.next()[1][1:])
        if isinstance(node, Field):
            return Field(position, node.names + names)
        if isinstance(node, Variable):
            return Variable(position, node.name, node.names + names)
        if isinstance(node, (Literal, Nil, Dot)):
            self.fail(f"unexpected . after term {quoted(str(node))}", position)
        return Chain(position, node, names)

    def _term(self, action: _Action) -> Node | None:
        kind, word, position = action.peek()
        if kind in ("end", "close", "pipe", "space"):
            return None
        action.next()
        if kind == "dot":
            return Dot(position, ".")
        if kind == "field":
            return Field(position, [word[1:]])
        if kind == "variable":
            self._check_variable(word, position)
            return Variable(position, word, [])
        if kind == "open":
            self.enter()
            inner = self._pipeline(action, "parenthesized pipeline", "close")
            self.depth -= 1
            action.next()
            return inner
        if kind in ("string", "raw", "char"):
            return self._text_literal(kind, word, position)
        if kind == "number":
            return self._number_literal(word, position)
        if kind == "word":
            return self._word(word, position)
        self.fail(f"unexpected {_item((kind, word, position))} in operand", position)

    def _text_literal(self, kind: str, word: str, position: int) -> Literal:
        if kind == "raw":
            return Literal(position, word, word[1:-1])
        try:
            text = _ESCAPE.sub(lambda match: _unescape(match, word[0]), word[1:-1])
        except ValueError:
            self.fail("invalid syntax", position)
        if kind == "string":
            return Literal(position, word, text)
        if len(text) != 1:
            self.fail(f"malformed character constant: {word}", position)
        return Literal(position, word, ord(text))

    def _number_literal(self, word: str, position: int) -> Literal:
        try:
            value = _number(word)
        except ValueError:
            self.fail(f'illegal number syntax: "{word}"', position)
        if isinstance(value, int) and not _INT_MIN <= value <= _UINT_MAX:
            self.fail(f'integer overflow: "{word}"', position)
        return Literal(position, word, value)

    def _word(self, word: str, position: int) -> Node:
        if word in ("true", "false"):
            return Literal(position, word, word == "true")
        if word == "nil":
            return Nil(position, word)
        if word not in self.functions:
            self.fail(f'function "{word}" not defined', position)
        return Function(position, word)


def _item(token: tuple[str, str, int]) -> str:
    """Format a token for an error."""
    _, word, _ = token
    if word in _KEYWORDS or word == ".":
        return f"<{word}>"
    return quoted(word) if len(word) <= 10 else f"{quoted(word[:10])}..."


def _number(word: str) -> int | float:
    """A constant's value, base 8 where it begins with a 0; raises ValueError for what is none."""
    if "__" in word or word.endswith("_"):
        raise ValueError(word)
    plain = word.replace("_", "")
    digits = plain.lower().lstrip("+-")
    if digits[:2] not in ("0x", "0b", "0o"):
        if any(mark in plain for mark in ".eE"):
            if (value := float(plain)) in (float("inf"), float("-inf")):
                raise ValueError(word)
            return value
        if digits[0] == "0" and len(digits) > 1:
            plain = plain.replace("0", "0o", 1)
    if len(digits) > 80:  # more than 64 bits in any base
        return _UINT_MAX + 1
    return int(plain, 0)


def _unescape(match: re.Match[str], quote: str) -> str:
    for group, base in ((1, 16), (2, 8)):  # a byte
        if match[group]:
            byte = int(match[group], base)
            return bytes([byte]).decode("utf-8", "surrogateescape")
    for group in (3, 4):  # a character, and no half of one
        if match[group]:
            return chr(int(match[group], 16)).encode().decode()
    if match[5] == quote:
        return quote
    if match[5] not in _ESCAPED:
        raise ValueError(match[0])
    return _ESCAPED[match[5]]
