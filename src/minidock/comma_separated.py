r"""One line of comma-separated values, as Go's encoding/csv reads the value of --mount.

    type=bind,src=/a,dst=/b              three fields
    type=bind,"src=/a,b",dst=/c          a quoted field may have commas, line breaks, and "" for a "

As in Docker, empty lines before the first are skipped, and lines after it are ignored. Python's csv
module raises other errors for line breaks, and accepts quotes that Go refuses.

Source: https://pkg.go.dev/encoding/csv.
"""

from __future__ import annotations

_BARE = 'bare " in non-quoted-field'
_QUOTE = 'extraneous or missing " in quoted-field'


def read_record(text: str) -> list[str]:
    """Parse the fields; raises ValueError with Go's message."""
    return _Reader(text).record()


class _Reader:
    def __init__(self, text: str) -> None:
        lines = text.replace("\r\n", "\n").removesuffix("\r").split("\n")
        self._lines = iter([*(line + "\n" for line in lines[:-1]), lines[-1]])
        self._number = 0
        self._line = ""
        self._at = 0

    def record(self) -> list[str]:
        while self._next_line():
            if self._line != "\n":
                break
        else:
            raise ValueError("EOF")
        fields = []
        while True:
            field, has_more = self._quoted() if self._rest()[:1] == '"' else self._plain()
            fields.append(field)
            if not has_more:
                return fields

    def _next_line(self) -> bool:
        self._line = next(self._lines, "")
        self._at = 0
        self._number += bool(self._line)
        return bool(self._line)

    def _rest(self) -> str:
        return self._line[self._at :]

    def _fail(self, at: int, reason: str) -> ValueError:
        column = len(self._line[:at].encode("utf-8", "surrogateescape")) + 1
        return ValueError(f"parse error on line {self._number}, column {column}: {reason}")

    def _plain(self) -> tuple[str, bool]:
        """Read an unquoted field; returns also whether another one follows."""
        field, comma, _ = self._rest().removesuffix("\n").partition(",")
        quote = field.find('"')
        if quote >= 0:
            raise self._fail(self._at + quote, _BARE)
        self._at += len(field) + len(comma)
        return field, bool(comma)

    def _quoted(self) -> tuple[str, bool]:
        self._at += 1
        field = ""
        while True:
            quote = self._line.find('"', self._at)
            if quote < 0:
                field += self._rest()
                end = len(self._line)
                line = self._line
                if not self._next_line():
                    self._line = line
                    raise self._fail(end, _QUOTE)
                continue
            field += self._line[self._at : quote]
            self._at = quote + 1
            following = self._line[self._at : self._at + 1]
            if following == '"':
                field += '"'
                self._at += 1
            elif following == ",":
                self._at += 1
                return field, True
            elif following in ("", "\n"):
                return field, False
            else:
                raise self._fail(quote, _QUOTE)
