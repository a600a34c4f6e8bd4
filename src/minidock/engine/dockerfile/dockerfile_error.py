"""What a Dockerfile does wrong, and on which of its lines."""

from __future__ import annotations

from minidock.errors import UsageError


class DockerfileError(UsageError):
    """A Dockerfile that cannot be read, in Docker's words.

    line: the line that the message is about, from 1; 0 where the caller has yet to say it.
    lines: first and last line of the instruction that holds it.
    reason: the message alone, where Docker puts the line's number before it.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        line: int = 0,
        lines: tuple[int, int] | None = None,
        hint: str = "",
        reason: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason or message
        self.line = line
        self.lines = lines or (line, line)

    def at(self, first: int, last: int) -> DockerfileError:
        """The same error with its place, if it has none yet."""
        if not self.line:
            self.line, self.lines = first, (first, last)
        return self
