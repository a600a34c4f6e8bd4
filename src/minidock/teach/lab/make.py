"""Making a program that has to be made: `make`, in a place of its own, if there is a Makefile.

Whoever writes a Makefile has commands run; so they run where the program itself will: walled in,
limited, without a network. What lies in the folder then is taken out again as data.
"""

from __future__ import annotations

from minidock.teach.lab.lost import Lost
from minidock.teach.lab.sandbox import Limits, Place
from minidock.teach.lab.submission_files import Files

_SECONDS = 60
_WORK = "/tmp/lab"


def build(files: Files, limits: Limits) -> Files:
    """The files, with what `make` adds to them and changes; the same where nothing is to be made.

    Raises Lost where it fails, or where there is no program `box` afterwards.
    """
    if "Makefile" in files:
        with Place(files, limits) as place:
            command = f"cp -r /lab {_WORK} && cd {_WORK} && exec make"
            ended = place.start_command("/bin/sh", "-c", command).wait(_SECONDS)
            if ended.exit_code:
                raise Lost(f"make: {ended.said()}")
            files = place.files(_WORK)
    if "box" not in files:
        raise Lost("the folder has no program named box")
    if not files.is_executable("box"):
        raise Lost("box is not executable: chmod +x box")
    return files
