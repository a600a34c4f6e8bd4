r"""Parse and match .dockerignore, which excludes files from the build context.

    # a comment        only at the beginning of a line
    *.log              "*" and "?" match no slash, "[a-z]" one character, "\" escapes a character
    **/*.tmp           "**" matches any number of directories, or none
    docs               excludes a directory with its contents ...
    !docs/README.md    ... except for files that a later line includes again (an exception)
    /build             the same as build: patterns are relative to the context's root

The last matching line decides. A line is evaluated for a path only if it could change the result,
and a line that matched a directory also matches the files in it. Together these two rules exclude
a/b for "a/b" followed by "!a".

Sources: docs.docker.com/build/concepts/context ".dockerignore files"; moby/patternmatcher and
ignorefile; BuildKit's fsutil, which matches directory by directory from the root.
"""

from __future__ import annotations

import posixpath

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.wildcards import Item, Pattern, is_any, is_same

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_REGEXP_SPECIAL = ".+()|{}$"
_SPECIAL = "*?[\\"
_ANY_FOLDERS = "(.*/)?"
MAX_BYTES = 1 << 20
_LINE_MAX = 16384


class Ignore:
    """The patterns of one .dockerignore.

    text: the file's content, b"" for none.
    Raises DockerfileError for an invalid pattern.
    """

    def __init__(self, text: bytes) -> None:
        if len(text) > MAX_BYTES:
            raise DockerfileError(
                f".dockerignore is larger than {MAX_BYTES >> 20} MiB",
                hint="use patterns with wildcards",
            )
        lines = _read(text)
        try:
            self._patterns = [_Pattern(line) for line in lines]
        except _PatternError as error:
            raise DockerfileError(
                f"invalid excludepatterns: [{' '.join(lines)}]: {error}",
                hint="look for an unclosed '[' or a single '!' in .dockerignore",
            ) from None
        self._folders: dict[str, list[bool]] = {"": [False] * len(self._patterns)}

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def matches(self, path: str) -> bool:
        """Whether a path is excluded. path: relative to the context, without "./"."""
        if not self._patterns or not path:
            return False
        return self._evaluate(path, self._folder_matches(posixpath.dirname(path)))[0]

    def skips(self, folder: str) -> bool:
        """Whether a directory is excluded and no exception can match below it."""
        return self.matches(folder) and not any(
            pattern.is_exception and pattern.may_match_below(folder) for pattern in self._patterns
        )

    def _folder_matches(self, path: str) -> list[bool]:
        """Which patterns match a directory or one of its parents."""
        if path not in self._folders:
            self._folders[path] = self._evaluate(
                path, self._folder_matches(posixpath.dirname(path))
            )[1]
        return self._folders[path]

    def _evaluate(self, path: str, above: list[bool]) -> tuple[bool, list[bool]]:
        """Whether a path is excluded, and which patterns match it."""
        excluded = False
        matched: list[bool] = []
        for pattern, matched_above in zip(self._patterns, above, strict=True):
            matches = matched_above
            if not matches and pattern.is_exception == excluded:
                matches = pattern.matches(path)
            matched.append(matches)
            if matches:
                excluded = not pattern.is_exception
        return excluded, matched


class _PatternError(Exception):
    """An invalid pattern; the message is Go's."""


class _Pattern:
    """One line: its text without the "!", and its matcher.

    A pattern without special characters, or with "**" at one end only, is compared as a string.
    """

    def __init__(self, line: str) -> None:
        self.is_exception = line.startswith("!")
        self.text = line.removeprefix("!")
        if self.is_exception and self.text in ("", "/"):
            raise _PatternError('illegal exclusion pattern: "!"')
        _check_syntax(self.text)
        self._regexp: Pattern | None = None
        suffix = self.text.removeprefix("**")
        prefix = self.text.removesuffix("**")
        self._is_suffix = self.text.startswith("**") and not _has_special(suffix)
        self._is_prefix = self.text.endswith("**") and not _has_special(prefix)
        if not (self._is_suffix or self._is_prefix or not _has_special(self.text)):
            self._regexp = _regexp(self.text)

    def matches(self, path: str) -> bool:
        if self._regexp is not None:
            return self._regexp.matches(path)
        if self._is_suffix:
            end = self.text[2:]
            return path.endswith(end) or (end.startswith("/") and path == end[1:])
        if self._is_prefix:
            return path.startswith(self.text[:-2])
        return path == self.text

    def may_match_below(self, folder: str) -> bool:
        """Whether the pattern may match a path inside a directory; in doubt, True."""
        specials = [at for character in _SPECIAL if (at := self.text.find(character)) >= 0]
        inside = folder + "/"
        if not specials:
            return self.text.startswith(inside)
        literal = self.text[: min(specials)]
        return literal.startswith(inside) or inside.startswith(literal)


def _read(text: bytes) -> list[str]:
    """The patterns of a file, normalised."""
    patterns = []
    for line in text.removeprefix(b"\xef\xbb\xbf").decode(errors="surrogateescape").split("\n"):
        if len(line) > _LINE_MAX:
            raise DockerfileError(f".dockerignore: a line is longer than {_LINE_MAX} characters")
        pattern = line.strip()
        if line.startswith("#") or not pattern:
            continue
        is_exception = pattern.startswith("!")
        pattern = pattern[1:].strip() if is_exception else pattern
        if pattern:
            pattern = posixpath.normpath(pattern)
            pattern = pattern.lstrip("/") or "/"
        patterns.append("!" + pattern if is_exception else pattern)
    return patterns


def _has_special(text: str) -> bool:
    return any(character in text for character in _SPECIAL + "]")


def _check_syntax(pattern: str) -> None:
    """Raise _PatternError for a pattern that Go's filepath.Match calls malformed."""
    at = 0
    while at < len(pattern):
        if pattern[at] == "\\":
            at += 2
            if at > len(pattern):
                raise _PatternError("syntax error in pattern")
        elif pattern[at] == "[":
            at = _skip_class(pattern, at + 1)
        else:
            at += 1


def _skip_class(pattern: str, at: int) -> int:
    """The end of a character class: "[", optional "^", characters and ranges, "]"."""
    at += pattern.startswith("^", at)
    count = 0
    while True:
        if pattern.startswith("]", at) and count:
            return at + 1
        at = _skip_class_character(pattern, at)
        if pattern.startswith("-", at):
            at = _skip_class_character(pattern, at + 1)
        count += 1


def _skip_class_character(pattern: str, at: int) -> int:
    if pattern.startswith(("-", "]"), at):
        raise _PatternError("syntax error in pattern")
    at += pattern.startswith("\\", at)
    if at + 1 >= len(pattern):  # the class cannot be closed
        raise _PatternError("syntax error in pattern")
    return at + 1


def _regexp(pattern: str) -> Pattern:
    """Compile a pattern via moby's regular expression, to a matcher without backtracking."""
    expression = "".join(_expression(pattern))
    items: list[Item] = []
    at = int(expression.startswith("^"))
    while at < len(expression):
        if expression.startswith(_ANY_FOLDERS, at):
            at += len(_ANY_FOLDERS)
            items.append(Item(is_any, loops=True, ends_with_slash=True))
            continue
        fits, at = _atom(expression, at)
        loops = expression.startswith("*", at)
        at += loops
        items.append(Item(fits, loops=loops))
    return Pattern(items)


def _atom(expression: str, at: int) -> tuple[Callable[[str], bool], int]:
    """Parse one atom of a regular expression; returns its predicate and its end."""
    first = expression[at]
    if first == "[":
        end = _class_end(expression, at)
        return _character_test(expression[at:end]), end
    if first == "\\":
        return _character_test(expression[at : at + 2]), at + 2
    if first == ".":
        return is_any, at + 1
    if first in "*?":
        raise _PatternError("syntax error in pattern")  # nothing to repeat
    if first == "^":
        return _never, at + 1  # an anchor in the middle matches nothing
    return is_same(first), at + 1


def _never(character: str) -> bool:
    return False


def _class_end(expression: str, at: int) -> int:
    at += 1
    at += expression.startswith("^", at)
    at += expression.startswith("]", at)
    while at < len(expression) and expression[at] != "]":
        at += 2 if expression[at] == "\\" else 1
    return at + 1


def _character_test(expression: str) -> Callable[[str], bool]:
    """A predicate for one character, by a regular expression."""
    import re
    import warnings

    with warnings.catch_warnings():  # Python warns about "[[", but reads it as Go does
        warnings.simplefilter("ignore", FutureWarning)
        try:
            compiled = re.compile(expression)
        except re.error:
            raise _PatternError("syntax error in pattern") from None
    return lambda character: compiled.fullmatch(character) is not None


def _expression(pattern: str) -> list[str]:
    pieces: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if pattern.startswith("**", at):
            at += 2
            at += pattern.startswith("/", at)  # "**/" equals "**"
            piece = _ANY_FOLDERS if at < len(pattern) else ".*"
        else:
            at += 1
            if character == "*":
                piece = "[^/]*"
            elif character == "?":
                piece = "[^/]"
            elif character == "\\":
                piece = "\\" + pattern[at : at + 1]  # as in Go, "\d" becomes a class
                at += 1
            else:
                piece = "\\" + character if character in _REGEXP_SPECIAL else character
        if not (
            pieces and piece == pieces[-1] and piece.endswith(("*", "?"))
        ):  # a repetition changes nothing
            pieces.append(piece)
    return pieces
