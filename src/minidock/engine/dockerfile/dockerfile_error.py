"""The error of a Dockerfile, with its lines."""

from __future__ import annotations

from minidock.errors import UsageError


class DockerfileError(UsageError):
    """An error in a Dockerfile, with Docker's message.

    line: the line of the error, from 1; 0 until the caller sets it by `at`.
    lines: first and last line of the instruction.
    reason: the message without the line number that Docker puts before it.
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
        """Set the lines of the error unless they are set; returns it."""
        if not self.line:
            self.line, self.lines = first, (first, last)
        return self
