"""Print errors: one sentence, a hint and a reference."""

from __future__ import annotations

import errno
import sys

from minidock.errors import DamagedFile, KernelError, MinidockError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Hints about --format.
FIELDS_HINT = "list the fields with --format json"
SYNTAX_HINT = "a template is text with fields in it, such as '{{.ID}} {{.Name}}'"


class FormatError(MinidockError):
    """A --format that does not fit the objects it is applied to."""

    exit_code = 1


class FormatSyntaxError(MinidockError):
    """A --format with a syntax error, for a single object; for lists it is a FormatError."""

    exit_code = 64


_reported: set[str] = set()  # paths of damaged files, texts of others that were skipped

# Errors of a kernel that lacks a call, or of an environment that forbids it even to root.
_ENVIRONMENT_ERRORS = (errno.EPERM, errno.EMFILE, errno.EROFS, errno.ENOSYS, errno.EOPNOTSUPP)


def print_error(error: MinidockError) -> None:
    """Print an error to stderr: one sentence, its hint and a reference.

    A damaged file is reported once: the code that skipped it may fail on it later.
    """
    if isinstance(error, DamagedFile):
        if error.path in _reported:
            return
        _reported.add(error.path)
    lines = [f"minidock: {error}"]
    if hint := error.hint or _doctor_hint(error):
        lines += [f"  hint: {line}" for line in hint.splitlines()]
    if isinstance(error, KernelError):
        name, _, section = error.call.rstrip(")").partition("(")
        lines.append(f"  see:  minidock explain {name} · man {section or 2} {name}")
    lines += [f"  {note}" for note in getattr(error, "__notes__", ())]
    sys.stdout.flush()
    print("\n".join(lines), file=sys.stderr)


def print_skipped(error: MinidockError) -> None:
    """Print an error about something that the command has skipped, once."""
    if str(error) not in _reported:
        _reported.add(str(error))
        print_error(error)


def _doctor_hint(error: MinidockError) -> str:
    """Refer to `doctor` if the cause is this machine and not the request."""
    if not isinstance(error, KernelError):
        return ""
    lacks_filesystem = error.errno == errno.ENODEV and error.call in ("fsopen(2)", "mount(2)")
    if error.errno in _ENVIRONMENT_ERRORS or lacks_filesystem:
        return "`minidock doctor` shows what this machine does not allow, and how to fix it"
    return ""


def for_each(references: tuple[str, ...], act: Callable[[str], object]) -> int:
    """Call `act` with each reference and report each error; returns the exit code.

    act: its result is printed, unless it is None.
    """
    code = 0
    for reference in references:
        try:
            answer = act(reference)
        except BrokenPipeError:
            raise
        except (MinidockError, OSError) as error:
            print_error(error if isinstance(error, MinidockError) else system_error(error))
            code = 1
            continue
        if answer is not None:
            print(answer, flush=True)
    return code
