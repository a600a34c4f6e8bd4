"""Build a program that has a Makefile: run `make` in a sandbox of its own.

A Makefile runs arbitrary commands, so they run where the program itself will: isolated, limited,
without a network. The folder's files are then read back as data.
"""

from __future__ import annotations

from minidock.teach.lab.failure import Failure
from minidock.teach.lab.sandbox import Limits, Sandbox
from minidock.teach.lab.submission_files import Files

_SECONDS = 60
_WORK = "/tmp/lab"


def build(files: Files, limits: Limits) -> Files:
    """Run `make` if there is a Makefile; returns the files afterwards.

    Raises Failure if it fails, or leaves no executable `box`.
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
