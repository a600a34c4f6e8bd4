"""`run` and `create`: from an image to a container.

The flags become Docker's ContainerCreate body (flags_run.py); the engine does the rest. This module
knows the order of things that a person sees: the id, the id's file, the exit code.
"""

from __future__ import annotations

import os

from minidock.cli.flags_process import ENVIRONMENT  # noqa: F401  (exec reads it from here)
from minidock.cli.flags_run import container_create_body, run_flags
from minidock.cli.pflag import Parsed, command, switch, value
from minidock.errors import CommandNotFound, CommandNotRunnable, MinidockError, NotFound
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.engine.containers import Container
