"""`minidock-runtime`: the runtime as a command that stands in for runc.

    dockerd --add-runtime minidock=/usr/local/bin/minidock-runtime
    podman --runtime /usr/local/bin/minidock-runtime run ...
    minidock-runtime run --bundle DIR ID

Each call is a process of its own, and nothing stays behind but <root>/<id>/ and the container. The
commands that bear processes (create, run, exec) go on in the sealed interpreter (runtime/seal.py)
before anything else happens, unless the launcher started that one already; so as little as possible
is imported here.

Source: OCI runtime-spec "Runtime and Lifecycle"; runc(8).
"""

from __future__ import annotations

import gc
import os
import sys

from minidock.errors import MinidockError, UsageError
from minidock.paths import Store
from minidock.runtime import arguments, log, seal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main(words: list[str] | None = None) -> NoReturn:
    """Carry out one command line; ends the process with its exit code.

    words: without the program's own name; None takes sys.argv's.
    """
    gc.disable()  # in 30 ms there is no garbage worth looking for
    words = sys.argv[1:] if words is None else words
    code = 1
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # nobody reads the answer any more, and there is nobody to tell
    os._exit(code)  # what an interpreter tears down at its end takes 2 ms, and is the kernel's job


def _run(words: list[str]) -> int:
    sink = log.Log()
    command = action = ""
    try:
        call = arguments.parse(words)
        sink = log.Log(call.options["log"], call.options["log_format"])
        if call.command in ("help", "version"):
            return _about(call)
        command = call.command
        if arguments.COMMANDS[command].sealed:
            action = command if command == "exec" else f"{arguments.PROGRAM} {command}"
            seal.reexec_sealed(Store().run, "minidock.runtime.__main__", words)
            from minidock.runtime.create_commands import HANDLERS
        else:
            from minidock.runtime.container_commands import HANDLERS
        return HANDLERS[command](call, sink)
    except MinidockError as error:
        sink.error(error, during=action)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        sink.error(UsageError(f"{where}{error.strerror or error}"), during=action)
    return 255 if command == "exec" else 1


def _about(call: arguments.Call) -> int:
    from minidock.runtime.release import OCI_VERSION, VERSION

    if call.command == "version":
        print(f"{arguments.PROGRAM} version {VERSION}\nspec: {OCI_VERSION}")
    else:
        print(arguments.help_text(*call.arguments), end="")
    return 0


if __name__ == "__main__":
    main()
