"""How an error is said to a person: one sentence, what to do, and where to read on."""

from __future__ import annotations

import sys

from minidock.errors import DamagedFile, KernelError, MinidockError, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# What to do about a --format.
FIELDS = "--format json shows which fields there are"
SYNTAX = "a template is text with fields in it, such as '{{.ID}} {{.Name}}'"


class FormatError(MinidockError):
    """A --format that does not suit what it is applied to."""

    exit_code = 1


class FormatSyntaxError(MinidockError):
    """A --format that is no template, where one object is shown; of lists it is a FormatError."""

    exit_code = 64


_said: set[str] = set()  # the damaged files that somebody has been told of

# What the kernel says to a call that it lacks, or that this place forbids even to root.
_MACHINES = {1, 24, 30, 38, 95}  # EPERM, EMFILE, EROFS, ENOSYS, EOPNOTSUPP
_UNKNOWN_FILESYSTEM = 19  # ENODEV, of fsopen(2) and mount(2)


def complain(error: MinidockError) -> None:
    """One sentence on stderr, the hint below it, and where to read on.

    Of a damaged file once: what passed over it may fail for it later.
    """
    if isinstance(error, DamagedFile):
        if error.path in _said:
            return
        _said.add(error.path)
    lines = [f"minidock: {error}"]
    if hint := error.hint or _hint_of_machine(error):
        lines += [f"  hint: {line}" for line in hint.splitlines()]
    if isinstance(error, KernelError):
        name, _, section = error.call.rstrip(")").partition("(")
        lines.append(f"  see:  minidock explain {name} · man {section or 2} {name}")
    lines += [f"  {note}" for note in getattr(error, "__notes__", ())]
    sys.stdout.flush()
    print("\n".join(lines), file=sys.stderr)


def _hint_of_machine(error: MinidockError) -> str:
    """Who tells more, where it is the machine that refuses, and not what was asked of it."""
    if not isinstance(error, KernelError):
        return ""
    lacks = error.errno == _UNKNOWN_FILESYSTEM and error.call in ("fsopen(2)", "mount(2)")
    if error.errno in _MACHINES or lacks:
        return "`minidock doctor` tells what this machine does not allow, and what to do"
    return ""


def for_each(references: tuple[str, ...], act: Callable[[str], object]) -> int:
    """Do one thing to each container or image, say of each whether it worked; the exit code.

    act: does it; what it returns is printed, None prints nothing.
    """
    code = 0
    for reference in references:
        try:
            answer = act(reference)
        except BrokenPipeError:
            raise
        except (MinidockError, OSError) as error:
            complain(error if isinstance(error, MinidockError) else system_error(error))
            code = 1
            continue
        if answer is not None:
            print(answer, flush=True)
    return code
