"""`minidock-runtime`: an OCI runtime with runc's command line.

    dockerd --add-runtime minidock=/usr/local/bin/minidock-runtime
    podman --runtime /usr/local/bin/minidock-runtime run ...
    minidock-runtime run --bundle DIR ID

Each call is a process of its own that leaves only <root>/<id>/ and the container. The commands that
create a process (create, run, exec) first re-execute themselves in the sealed interpreter
(runtime/seal.py), unless the launcher has started that one; so this module imports little.

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
    """Run one command line; ends the process with its exit code.

    words: without the program's own name; None takes sys.argv's.
    """
    gc.disable()  # not worth its time in a process of 30 ms
    words = sys.argv[1:] if words is None else words
    code = 1
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        pass  # stdout has no reader any more
    os._exit(code)  # the interpreter's own shutdown takes 2 ms


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
