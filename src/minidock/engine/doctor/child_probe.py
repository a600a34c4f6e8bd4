"""Probes in a child process, part by part, which leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minidock.engine.store.tree_removal import ScratchDirectory
from minidock.errors import MinidockError
from minidock.paths import Store

Parts = dict[str, str]

_SECONDS = 20
_NO_ANSWER = "no result: the probe was killed"


class Tried:
    """Collects the results of the parts.

    with tried("mount"): …      a failure in the block is recorded and not raised
    """

    def __init__(self) -> None:
        self.parts: Parts = {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        try:
            yield
        except MinidockError as error:
            self.parts[part] = str(error)
        except OSError as error:
            subject = f"{error.filename}: " if error.filename else ""
            self.parts[part] = f"{subject}{error.strerror or error}"
        else:
            self.parts.setdefault(part, "")

    def works(self, part: str) -> bool:
        """Whether a part was tried and worked."""
        return self.parts.get(part) == ""


def in_child(act: Callable[[Tried], None]) -> Parts:
    """Run a probe in a child, which may change its namespaces and more; returns its results.

    The child removes directories and cgroups itself; the kernel releases the rest when it ends.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            signal.alarm(_SECONDS)
            tried = Tried()
            with tried("probe"):
                act(tried)
            if tried.works("probe"):
                del tried.parts["probe"]
            os.write(writer, json.dumps(tried.parts).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answers:
        said = answers.read()
    os.waitpid(pid, 0)
    return dict(json.loads(said)) if said else {"probe": _NO_ANSWER}


@contextmanager
def scratch(store: Store) -> Iterator[str]:
    """Create an empty directory on the store's file system, removed afterwards."""
    with ScratchDirectory(".minidock-doctor-", nearest(store.root)) as made:
        yield made.path


def nearest(path: str) -> str:
    """Return the path itself, or its nearest existing parent."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return os.path.realpath(path)
