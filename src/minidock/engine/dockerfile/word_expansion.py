r"""Word expansion in Dockerfiles, as in a shell: quotes, escapes, $VARIABLES.

    $X  ${X}                   the value; nothing where X is not set
    ${X-a}   ${X:-a}           the value, or a where X is unset (with a colon: or empty)
    ${X+a}   ${X:+a}           a where X is set (and not empty), else nothing
    ${X?e}   ${X:?e}           the value, or the error e
    ${X#p} ${X##p}             without the shortest, longest prefix that matches the pattern p
    ${X%p} ${X%%p}             without the shortest, longest such suffix
    ${X/p/r} ${X//p/r}         with the first match, with all matches of p replaced by r

In a pattern, "*" matches any text, "?" any character, neither a line break; "\" escapes both.
Inside '…' no character is special. Inside "…", "$" is special, and the escape character before "$",
the quote and itself. The escape character is "\", or "`" by the directive "# escape=`".

Words are split *after* variable expansion: an unquoted value with blanks makes several words.

Sources: docs.docker.com/reference/dockerfile "Environment replacement"; BuildKit's
frontend/dockerfile/shell (lex.go), with whose results the tests compare.
"""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.glob import GROWTH_MAX, remove_prefix, remove_suffix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# What Go's unicode.IsSpace calls a space; Python's isspace() also has the separators 0x1c-0x1f.
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
_SPECIAL_PARAMETERS = "@*#?-$!0"
_OPERATORS = "+-?#%"
_DEPTH_MAX = 100  # nested ${A:-${B:-…}}; far below Python's recursion limit
_SHOWN_MAX = 1000  # characters of a text in an error message


def expand(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """Expand variables and remove quotes; blanks stay.

    Raises DockerfileError for an open quote or brace, an invalid modifier, and the error of ${X?}.
    """
    return _Lexer(text, variables, escape).run()[0]


def expand_words(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """Expand variables and split into words at unquoted blanks."""
    return _Lexer(text, variables, escape).run()[1]


def expand_heredoc(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """Expand variables of a here-document; quotes are ordinary characters."""
    return _Lexer(text, variables, escape, quotes_are_special=False).run()[0]


def expand_for_display(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """Expand known variables for the progress output; the rest stays as written."""
    lexer = _Lexer(text, variables, escape, keep_quotes=True, keep_escapes=True, keep_unset=True)
    try:
        return lexer.run()[0]
    except DockerfileError:
        return text


def raw_words(text: str, *, escape: str = "\\", keep_quotes: bool = True) -> list[str]:
    """Split a line into words without expanding variables."""
    lexer = _Lexer(
        text, {}, escape, keep_quotes=keep_quotes, keep_escapes=keep_quotes, keep_unset=True
    )
    return lexer.run()[1]


class _Words:
    """Splits characters into words."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._word: list[str] = []

    def add(self, text: str) -> None:
        """Add unquoted characters: blanks end a word."""
        for character in text:
            if character in SPACES:
                self._end()
            else:
                self._word.append(character)

    def add_quoted(self, text: str) -> None:
        self._word.append(text)

    def all(self) -> list[str]:
        self._end()
        return self._done

    def _end(self) -> None:
        if word := "".join(self._word):
            self._done.append(word)
        self._word.clear()


class _Lexer:
    """Expands one text in one pass."""

    def __init__(
        self,
        text: str,
        variables: Mapping[str, str],
        escape: str,
        *,
        quotes_are_special: bool = True,
        keep_quotes: bool = False,
        keep_escapes: bool = False,
        keep_unset: bool = False,
    ) -> None:
        self._text = text
        self._variables = variables
        self._escape = escape
        self._quotes_are_special = quotes_are_special
        self._keep_quotes = keep_quotes
        self._keep_escapes = keep_escapes
        self._keep_unset = keep_unset
        self._at = 0
        self._depth = 0
        self._growth = 0

    def run(self) -> tuple[str, list[str]]:
        """Expand the text; returns it as a whole and as words."""
        try:
            return self._until("")
        except DockerfileError as error:
            text = self._text if len(self._text) <= _SHOWN_MAX else self._text[:_SHOWN_MAX] + "…"
            raise DockerfileError(f"failed to process {go_quote(text)}: {error}") from None

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        character = self._peek()
        self._at += len(character)
        return character

    def _until(self, stop: str) -> tuple[str, list[str]]:
        """Expand up to a character, which is consumed; "" means the end of the text."""
        result: list[str] = []
        words = _Words()
        while character := self._peek():
            if character == stop:
                self._at += 1
                return "".join(result), words.all()
            if character == "$":
                piece = self._expand_variable()
                words.add(piece)
            elif self._quotes_are_special and character in "'\"":
                piece = self._single_quoted() if character == "'" else self._double_quoted()
                words.add_quoted(piece)
            elif character == self._escape:
                piece = self._escaped()
                words.add_quoted(piece)
            else:
                piece = self._next()
                words.add(piece)
            result.append(piece)
        if stop:
            raise DockerfileError(f"unexpected end of statement while looking for matching {stop}")
        return "".join(result), words.all()

    def _escaped(self) -> str:
        """Consume an escape sequence; returns the escaped character, "" at the end of the text."""
        kept = self._next() if self._keep_escapes else self._next()[:0]
        return kept + self._next()

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._at + 1)
        if end < 0:
            self._at = len(self._text)
            raise DockerfileError(
                "unexpected end of statement while looking for matching single-quote"
            )
        inside = self._text[self._at + 1 : end]
        self._at = end + 1
        return f"'{inside}'" if self._keep_quotes else inside

    def _double_quoted(self) -> str:
        quote = self._next()
        result = [quote] if self._keep_quotes else []
        while character := self._peek():
            if character == "$":
                result.append(self._expand_variable())
                continue
            self._at += 1
            if character == '"':
                return "".join([*result, quote] if self._keep_quotes else result)
            if character != self._escape:
                result.append(character)
                continue
            if self._keep_escapes:
                result.append(character)
            if following := self._peek():
                protects = following in ('"', "$", self._escape)
                result.append(self._next() if protects else character)
        raise DockerfileError("unexpected end of statement while looking for matching double-quote")

    def _expand_variable(self) -> str:
        """Expand a "$…"; raises DockerfileError if the text grows too long.

        ENV A=$A$A doubles a value with each line. The kernel limits a variable to 128 KiB
        (MAX_ARG_STRLEN).
        """
        piece = self._variable()
        self._growth += len(piece)
        if self._growth > GROWTH_MAX:
            raise DockerfileError(f"variables add more than {GROWTH_MAX >> 20} MiB to it")
        return piece

    def _variable(self) -> str:
        """Parse the expression at "$"; returns its value."""
        self._at += 1
        if self._peek() != "{":
            name = self._name()
            if not name:
                return "$"
            value = self._variables.get(name)
            return (f"${name}" if self._keep_unset else "") if value is None else value
        self._at += 1
        if not self._peek():
            raise DockerfileError("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise DockerfileError("syntax error: bad substitution")
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            raise DockerfileError(f"more than {_DEPTH_MAX} substitutions inside each other")
        value = self._braced(self._name())
        self._depth -= 1
        return value

    def _name(self) -> str:
        """Parse a name: letters, digits and "_"; or digits; or one special parameter."""
        start = self._at
        first = self._peek()
        if first.isdigit():
            while self._peek().isdigit():
                self._at += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self._at += 1
        else:
            while (character := self._peek()).isalpha() or character.isdigit() or character == "_":
                self._at += 1
        return self._text[start : self._at]

    def _braced(self, name: str) -> str:
        """Parse the modifier after the name in ${NAME…}; returns the resulting value."""
        value = self._variables.get(name)
        operator = self._next()
        if operator == "}":
            return (f"${{{name}}}" if self._keep_unset else "") if value is None else value
        if operator == "/":
            return self._replace_match(name, value)
        modifier, word = self._modifier(operator)
        if value is None and self._keep_unset:
            return f"${{{name}{modifier}{word}}}"
        return _apply_modifier(name, value, modifier, word)

    def _modifier(self, first: str) -> tuple[str, str]:
        """Parse a modifier and its word, to the closing brace: (":-", "a") of ${X:-a}.

        first: its first character, which is consumed already.
        """
        modifier = first + self._next() if first == ":" else first
        operator = modifier[-1:]
        if not operator:
            raise DockerfileError("syntax error: missing '}'")
        unsupported = DockerfileError(f"unsupported modifier ({modifier}) in substitution")
        if operator not in _OPERATORS and first != ":":
            raise unsupported
        word = self._modifier_word("}", is_pattern=operator in "#%")
        if operator not in _OPERATORS:
            raise unsupported
        return modifier, word

    def _modifier_word(self, stop: str, *, is_pattern: bool, missing: str = "}") -> str:
        """Expand the word of a modifier; keeps the escapes of a pattern."""
        keep, self._keep_escapes = self._keep_escapes, is_pattern
        try:
            return self._until(stop)[0]
        except DockerfileError:
            if self._peek():
                raise
            place = " in ${}" if missing == "/" else ""
            raise DockerfileError(f"syntax error: missing '{missing}'{place}") from None
        finally:
            self._keep_escapes = keep

    def _replace_match(self, name: str, value: str | None) -> str:
        everywhere = self._peek() == "/"
        self._at += everywhere
        pattern = self._modifier_word("/", is_pattern=True, missing="/")
        replacement = self._modifier_word("}", is_pattern=True)
        if value is None and self._keep_unset:
            return f"${{{name}/{'/' * everywhere}{pattern}/{replacement}}}"
        from minidock.engine.dockerfile.glob import replace

        return replace(value or "", pattern, replacement, everywhere=everywhere)


def _apply_modifier(name: str, value: str | None, modifier: str, word: str) -> str:
    """The value of ${NAME…}, by the table on top; value: None where NAME is unset."""
    operator = modifier[-1]
    if operator in "#%":
        return _remove_affix(value or "", operator, word)
    is_missing = value is None or (modifier[0] == ":" and not value)
    if operator == "+":
        return "" if is_missing else word
    if operator == "?" and is_missing:
        state = "unset" if value is None else "empty"
        raise DockerfileError(f"{name}: {word or f'is not allowed to be {state}'}")
    return word if is_missing else value or ""


def _remove_affix(value: str, operator: str, word: str) -> str:
    longest = word.startswith(operator)
    pattern = word[1:] if longest else word
    return (remove_prefix if operator == "#" else remove_suffix)(value, pattern, longest=longest)


def go_quote(text: str) -> str:
    """A string as Go's %q prints it, for messages and history."""
    return f'"{"".join(_go_character(character, quote=chr(34)) for character in text)}"'


def go_quote_rune(number: int) -> str:
    """A number as Go's %q prints it: a character literal of that code point."""
    is_character = number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return f"'{_go_character(chr(number) if is_character else chr(0xFFFD), quote=chr(39))}'"


def _go_character(character: str, *, quote: str) -> str:
    number = ord(character)
    if character in (quote, "\\"):
        return "\\" + character
    if character in _GO_ESCAPES:
        return _GO_ESCAPES[character]
    if number < 0x20 or number == 0x7F:
        return f"\\x{number:02x}"
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape keeps it
        return f"\\x{number - 0xDC00:02x}"
    if character.isprintable():
        return character
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


_GO_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}
