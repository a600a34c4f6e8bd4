r"""Go's regular expressions (RE2), as far as Python's can stand in for them.

    [[:alpha:]] \z \Qa.b\E (?<n>a) \x{1F600} a{,3}    put in Python's words
    (?=a) (?<!a) \1 a++                             Go has none of these: not an expression
    a{1001}                                         more than Go repeats: not an expression
    \pL [[:^alpha:]] (?U)                           Go has these, Python not: not an expression

Letters, digits and blanks are those of ASCII. Python's matcher goes back to try other ways, which
Go's never does: whoever matches limits the time.

Source: https://github.com/google/re2/wiki/Syntax; https://pkg.go.dev/regexp/syntax.
"""

from __future__ import annotations

import re
import warnings

_CLASSES = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": r"\x00-\x7f", "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f", "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~",
    "punct": r"!-/:-@\[-`{-~", "space": r"\t\n\v\f\r ", "upper": "A-Z", "word": r"0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_CLASS = re.compile(r"\[:(\w+):\]")
_GROUP = re.compile(r"\(\?(?:[ims]*(?:-[ims]+)?:|[ims]+\)|P?<\w+>)")
_NUMBER = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|([1-7][0-7]{1,2}))")
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)
_REPEAT = re.compile(r"(?:[*+?]|\{([0-9]+)(?:,([0-9]*))?\})")
_MOST_REPEATS = 1000


def compile_expression(text: str) -> re.Pattern[str]:
    """An expression of Go's, compiled. Raises ValueError for what is none there, or too large."""
    try:
        with warnings.catch_warnings():  # Python warns of "[[", which it reads as Go does
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(_in_python(text), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _in_python(text: str) -> str:
    """The expression in Python's words. Raises ValueError for what Go refuses and Python takes."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        end = _end_of_piece(text, at)
        pieces.append(_piece_in_python(text[at:end]))
        at = end
    return "".join(pieces)


def _piece_in_python(piece: str) -> str:
    if piece == r"\z":
        return r"\Z"
    if piece == "{":  # it begins no repetition
        return r"\{"
    if piece.startswith("(?<"):
        return f"(?P<{piece[3:]}"
    if piece.startswith("["):
        return _CLASS.sub(lambda found: _CLASSES.get(found[1], found[0]), piece)
    if quoted := _QUOTED.fullmatch(piece):
        return re.escape(quoted[1])
    if number := _NUMBER.fullmatch(piece):
        return re.escape(chr(int(number[1], 16) if number[1] else int(number[2], 8)))
    return piece


def _end_of_piece(text: str, at: int) -> int:
    """Where the character, class, group's beginning or repetition that stands here ends."""
    if text[at] == "\\":
        if special := _QUOTED.match(text, at) or _NUMBER.match(text, at):
            return special.end()
        if text[at + 1 : at + 2] in {*"123456789Z"}:
            raise ValueError(f"invalid escape sequence: {text[at : at + 2]}")
        return at + 2
    if text[at] == "[":
        return _end_of_class(text, at)
    if text.startswith("(?", at):
        if not (group := _GROUP.match(text, at)):
            raise ValueError(f"invalid or unsupported Perl syntax: {text[at : at + 3]}")
        return group.end()
    if repeat := _REPEAT.match(text, at):
        if any(number and int(number) > _MOST_REPEATS for number in repeat.groups()):
            raise ValueError(f"invalid repeat count: {repeat[0]}")
        end = repeat.end()
        if text.startswith("+", end):
            raise ValueError(f"invalid nested repetition operator: {repeat[0]}+")
        return end + text.startswith("?", end)
    return at + 1


def _end_of_class(text: str, at: int) -> int:
    """The end of a class; a "]" that stands first in it is one of its characters."""
    at += 1
    at += text.startswith("^", at)
    at += text.startswith("]", at)
    while at < len(text) and text[at] != "]":
        if named := _CLASS.match(text, at):
            at = named.end()
        else:
            at += 2 if text[at] == "\\" else 1
    return at + 1
