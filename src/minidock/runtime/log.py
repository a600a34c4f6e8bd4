"""The runtime's error log: one line per error, in the formats that engines parse.

    time="2026-01-31T12:00:00Z" level=error msg="run failed: ..."          --log-format text
    {"level":"error","msg":"run failed: ...","time":"2026-01-31T12:00:00Z"}                json

Without --log it goes to standard error. With --log the line goes to that file (containerd and
podman read the last error from it), and standard error gets the bare message, as with runc.

Source: runc(8); the text and JSON formatters of logrus.
"""

from __future__ import annotations

import os
import time

from minidock import jsontext
from minidock.errors import CommandNotFound, CommandNotRunnable, MinidockError


class Log:
    """The log of a command's errors and warnings.

    path: of the log file, appended to; None or /dev/stderr for standard error. form: text or json.
    """

    def __init__(self, path: str | None = None, form: str = "text") -> None:
        self._form = form
        self._descriptor = 2
        self._has_file = path not in (None, "", "/dev/stderr")
        if self._has_file and path is not None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o644)

    def error(self, error: MinidockError, *, during: str = "") -> None:
        """Log why the command failed, with its hint.

        during: "create", "run" or "exec", a prefix that engines parse.
        """
        message = f"{during} failed: " if during else ""
        if isinstance(error, (CommandNotFound, CommandNotRunnable)):
            message += "unable to start container process: "
        message += str(error)
        if error.hint:
            message += f" ({error.hint})"
        if self._has_file:
            os.write(2, message.encode("utf-8", "surrogateescape") + b"\n")
        self.line("error", message)

    def warning(self, message: str) -> None:
        """Log a failure that did not stop the command."""
        self.line("warning", message)

    def line(self, level: str, message: str) -> None:
        """Write one line. level: error, warning or debug."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self._form == "json":
            text = jsontext.dumps({"level": level, "msg": message, "time": now})
        else:
            text = f'time="{now}" level={level} msg={jsontext.dumps(message)}'
        os.write(self._descriptor, text.encode() + b"\n")
