r"""Translate Go's regular expressions (RE2) to Python's, as far as possible.

    [[:alpha:]] [[:^alpha:]] \pL \z \Qa.b\E (?<n>a) \x{1F600} a{,3}     translated
    a(?i)b|c                           flags in the middle of a group: a(?i:b)|(?i:c)
    (?U)                               swaps greediness, which changes no result: dropped
    (?=a) (?<!a) \1 a++                syntax error in Go, so here
    a{1001}                            exceeds Go's maximum of 1000: syntax error
    \p{Greek}                          valid in Go, not supported here: Unsupported

Letters, digits and spaces are those of ASCII. Unicode classes cover only their ASCII characters,
since all names are ASCII. Python's matcher backtracks and Go's does not: the caller limits the
time.

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
_CLASS = re.compile(r"\[:(\^?)(\w+):\]")
_UNICODE = re.compile(r"\\([pP])(?:\{(\^?)(\w+)\}|([A-Z]))")
_CATEGORIES = frozenset(
    "L Lu Ll Lt Lm Lo M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs "
    "C Cc Cf Co Cs".split()
)
_OTHERS = r"\x80-\U0010ffff"
_GROUP = re.compile(r"\(\?(?:([imsU]*)(?:-([imsU]+))?([:)])|P?<\w+>)")
_NUMBER = re.compile(r"\\(?:x\{([0-9A-Fa-f]+)\}|([1-7][0-7]{1,2}))")
_QUOTED = re.compile(r"\\Q(.*?)(?:\\E|\Z)", re.DOTALL)
_REPEAT = re.compile(r"(?:[*+?]|\{([0-9]+)(?:,([0-9]*))?\})")
_MOST_REPEATS = 1000


class Unsupported(Exception):
    """A construct that this translation does not support; the message names it."""


def compile_expression(text: str) -> re.Pattern[str]:
    """Compile a Go regular expression.

    Raises ValueError for a syntax error or an expression that is too large, and Unsupported.
    """
    try:
        with warnings.catch_warnings():  # Python warns of "[[", which it reads as Go does
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(_in_python(text), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(str(error)) from None


def _in_python(text: str) -> str:
    """The expression in Python's words. Raises ValueError for what Go refuses and Python takes.

    In Go, flags hold from where they stand to the end of their group, through all alternatives. In
    Python they have a group of their own, which ends before each "|" and begins again after it.
    """
    pieces: list[str] = []
    flags = [""]  # of each group that is open: the beginnings of its flags' own groups
    at = 0
    while at < len(text):
        end = _end_of_piece(text, at)
        piece = _piece_in_python(text[at:end])
        if piece.startswith("(?") and piece.endswith(")"):
            piece = f"{piece[:-1]}:" if piece != "(?)" else ""
            flags[-1] += piece
        elif piece == "|":
            piece = f"{_ends(flags[-1])}|{flags[-1]}"
        elif piece.startswith("("):
            flags.append("")
        elif piece == ")":
            if len(flags) == 1:
                raise ValueError("unexpected )")
            piece = f"{_ends(flags.pop())})"
        pieces.append(piece)
        at = end
    return "".join(pieces) + _ends(flags[0])


def _ends(beginnings: str) -> str:
    return ")" * beginnings.count("(")


def _piece_in_python(piece: str) -> str:
    if piece == r"\z":
        return r"\Z"
    if piece == "{":  # it begins no repetition
        return r"\{"
    if piece.startswith("(?<"):
        return f"(?P<{piece[3:]}"
    if (group := _GROUP.fullmatch(piece)) and group[3]:
        return _flags_in_python(group[1], group[2] or "", group[3])
    if piece.startswith("["):
        return _class_in_python(piece)
    if piece.startswith((r"\p", r"\P")):
        return f"[{_set_of(piece)}]"
    if quoted := _QUOTED.fullmatch(piece):
        return re.escape(quoted[1])
    return _character(piece)


def _flags_in_python(on: str, off: str, end: str) -> str:
    """The beginning of a group with flags, without U: which texts have a match is the same."""
    off = "".join(flag for flag in dict.fromkeys(off) if flag != "U")
    on = "".join(flag for flag in dict.fromkeys(on) if flag not in f"{off}U")  # the last one counts
    return f"(?{on}{off and f'-{off}'}{end}"


def _character(piece: str) -> str:
    if number := _NUMBER.fullmatch(piece):
        return re.escape(chr(int(number[1], 16) if number[1] else int(number[2], 8)))
    return piece


def _class_in_python(piece: str) -> str:
    """Translate a class in brackets: it contains characters, escapes and named classes."""
    parts = re.split(rf"({_CLASS.pattern}|{_UNICODE.pattern}|{_NUMBER.pattern}|\\.)", piece)
    width = 2 + _CLASS.groups + _UNICODE.groups + _NUMBER.groups  # between parts, and the groups
    plain = parts[::width]
    named = [_set_of(part) for part in parts[1::width]]
    return "".join(a + b for a, b in zip(plain, [*named, ""], strict=True))


def _set_of(text: str) -> str:
    """The characters of a named class or another escape, to be written in brackets.

    Raises ValueError for a name that Go does not have either, and Unsupported.
    """
    if named := _CLASS.fullmatch(text):
        if named[2] not in _CLASSES:
            raise ValueError(f"invalid character class range: {text}")
        ours = _CLASSES[named[2]]
        return _all_but(re.compile(f"[{ours}]")) if named[1] else ours
    if not text.startswith((r"\p", r"\P")):
        return _character(text)
    if not (unicode := _UNICODE.fullmatch(text)):
        raise ValueError(f"invalid character class range: {text}")
    if unicode[4] and unicode[4] not in _CATEGORIES:
        raise ValueError(f"invalid character class range: {text}")
    kind, is_negated = unicode[3] or unicode[4], (unicode[1] == "P") != bool(unicode[2])
    return _unicode_set(kind, text, negated=is_negated)


def _unicode_set(kind: str, text: str, *, negated: bool) -> str:
    """ASCII's share of a class of Unicode, and all beyond ASCII for what is not in a class."""
    if kind == "Any":
        inside = [True] * 128
    elif kind in _CATEGORIES:
        from unicodedata import category  # seldom wanted

        inside = [category(chr(code)).startswith(kind) for code in range(128)]
    elif kind in ("Latin", "Common"):
        inside = [chr(code).isalpha() == (kind == "Latin") for code in range(128)]
    else:
        raise Unsupported(f"{text} is not supported; supported scripts: Latin, Common")
    members = "".join(rf"\x{code:02x}" for code in range(128) if inside[code])
    if negated or not members:
        others = re.compile(f"[{members}]" if members else r"(?!)")
        return _all_but(others) if negated else r"\U0010ffff"
    return members


def _all_but(others: re.Pattern[str]) -> str:
    """The characters that a class does not have, all beyond ASCII among them."""
    ascii_ones = "".join(rf"\x{code:02x}" for code in range(128) if not others.match(chr(code)))
    return ascii_ones + _OTHERS


def _end_of_piece(text: str, at: int) -> int:
    """Where the character, class, group's beginning or repetition that stands here ends."""
    if text[at] == "\\":
        for special in (_QUOTED, _NUMBER, _UNICODE):
            if found := special.match(text, at):
                return found.end()
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
        if named := _CLASS.match(text, at) or _UNICODE.match(text, at):
            at = named.end()
        else:
            at += 2 if text[at] == "\\" else 1
    return at + 1
