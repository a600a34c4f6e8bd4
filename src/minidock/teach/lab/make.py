"""Making a program that has to be made: `make`, in a place of its own, if there is a Makefile.

Whoever writes a Makefile has commands run; so they run where the program itself will: walled in,
limited, without a network. What lies in the folder then is taken out again as data.
"""

from __future__ import annotations

from minidock.teach.lab.failure import Failure
from minidock.teach.lab.sandbox import Limits, Sandbox
from minidock.teach.lab.submission_files import Files

_SECONDS = 60
_WORK = "/tmp/lab"


def build(files: Files, limits: Limits) -> Files:
    """The files, with what `make` adds to them and changes; the same where nothing is to be made.

    Raises Failure where it fails, or where there is no program `box` afterwards.
    """
    if "Makefile" in files:
        with Sandbox(files, limits) as sandbox:
            command = f"cp -r /lab {_WORK} && cd {_WORK} && exec make"
            result = sandbox.start_command("/bin/sh", "-c", command).wait(_SECONDS)
            if result.exit_code:
                raise Failure(f"make: {result.summary()}")
            files = sandbox.read_tree(_WORK)
    if "box" not in files:
        raise Failure("the folder has no program named box")
    if not files.is_executable("box"):
        raise Failure("box is not executable: chmod +x box")
    return files
