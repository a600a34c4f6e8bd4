"""`cp`: copy files between a container and this machine."""

from __future__ import annotations

import os

from minidock.cli.frame.command import command
from minidock.cli.frame.complete import containers
from minidock.cli.frame.pflag import switch
from minidock.cli.output.human import size
from minidock.errors import UsageError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.container.containers import Container


class BadCopy(UsageError):
    """The source and the target cannot be copied between."""

    exit_code = 1


@command("CONTAINER:SRC_PATH DEST_PATH|-\nSRC_PATH|- CONTAINER:DEST_PATH",
         at_least=2, at_most=2, complete=containers)  # fmt: skip
@switch("-a", "--archive", help="Archive mode (uid and gid are always copied into a container)")
@switch("-L", "--follow-link", help="Follow a symbolic link in SRC_PATH")
@switch("-q", "--quiet", default=None, help="Do not print the summary of the copy")
def cp(arguments: tuple[str, ...], *, archive: bool, follow_link: bool, quiet: bool | None) -> None:
    """Copy files between a container and the host

    With "-" instead of a local path, cp writes a tar archive to stdout, or reads one from stdin.
    """
    from minidock.engine.copy import copy as engine

    source, target = _Side(arguments[0]), _Side(arguments[1])
    if source.container and target.container:
        raise BadCopy("copying between containers is not supported")
    if not source.container and not target.container:
        raise BadCopy(
            "must specify at least one container source", hint="write it as CONTAINER:PATH"
        )
    inside, outside = (source, target) if source.container else (target, source)
    with engine.held(Store(), inside.container) as container:
        if outside.path == "-":
            if source.container:
                _write_archive(container, source.path, follow_link=follow_link)
            else:
                engine.extract(container, target.path, lambda count: os.read(0, count))
            return
        move = engine.from_container if source.container else engine.into_container
        count = move(container, source.path, target.path, follow_link=follow_link)
    if not (os.isatty(1) if quiet is None else not quiet):
        return
    place = target.path if source.container else f"{target.container}:{target.path}"
    print(f"Successfully copied {size(count, digits=3)} to {place}")


class _Side:
    """One of the two arguments: container "": a local path."""

    def __init__(self, text: str) -> None:
        name, colon, path = text.partition(":")
        is_local = text.startswith(("/", ".")) or not colon or "/" in name
        self.container = "" if is_local else name
        self.path = text if is_local else path


def _write_archive(container: Container, path: str, *, follow_link: bool) -> None:
    from minidock.engine.copy.copy import archive

    reading, writer = archive(container, path, follow_link=follow_link)
    try:
        while chunk := os.read(reading, 1 << 16):
            while chunk:
                chunk = chunk[os.write(1, chunk) :]
    finally:
        os.close(reading)
    writer.result()
