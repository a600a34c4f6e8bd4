"""The error of a failed build: its cause, the Dockerfile's lines, the output of the step."""

from __future__ import annotations

from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.errors import MinidockError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.context import Context
    from minidock.engine.build.progress import Vertex
    from minidock.engine.dockerfile.instruction import Instruction


class Failure:
    """A step that failed."""

    def __init__(
        self, vertex: Vertex | None, instruction: Instruction | None, error: BaseException
    ) -> None:
        self.vertex = vertex
        self.instruction = instruction
        self.error = error


class BuildFailed(MinidockError):
    """A build that failed.

    lines: first and last line of the instruction, from 1; (0, 0) for none. dockerfile: its lines;
    name: its file name. step, output: of the failed step, "" and b"" if none had begun.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.lines = (0, 0)
        self.dockerfile: list[str] = []
        self.name = ""
        self.step = ""
        self.output = b""


def to_minidock_error(error: MinidockError | OSError) -> MinidockError:
    """Convert an OSError, such as ENOSPC, to a MinidockError with a message for the user."""
    return error if isinstance(error, MinidockError) else system_error(error)


def build_failed(
    error: MinidockError | OSError, failures: list[Failure], context: Context
) -> BuildFailed:
    """The BuildFailed of an error and the recorded failures."""
    reported = to_minidock_error(error)
    failed = BuildFailed(f"failed to solve: {reported}", hint=reported.hint)
    failed.name = context.dockerfile_name
    failed.dockerfile = context.dockerfile.decode(errors="replace").split("\n")
    first = next((failure for failure in failures if failure.error is error), None)
    if first is not None and first.vertex is not None:
        failed.step = first.vertex.name
        failed.output = bytes(first.vertex.output)
    if first is not None and first.instruction is not None:
        failed.lines = (first.instruction.first_line, first.instruction.last_line)
    elif isinstance(error, DockerfileError):
        failed.lines = error.lines
    return failed
