"""The build context that the argument of `build` names:

    a directory       used in place
    -                 standard input: a tar archive of a context, or a Dockerfile alone
    a URL             of a git repository (#branch:directory), a tar archive, or a Dockerfile

Source: docs.docker.com/build/concepts/context.
"""

from __future__ import annotations

import os

from minidock.engine.build.context import of_folder
from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.build.context import Context
    from minidock.engine.build.options import Options
    from minidock.engine.build.progress import Progress

_URLS = ("http://", "https://", "git://", "git@", "ssh://", "github.com/")


def open_context(options: Options, staging: str, progress: Progress) -> Context:
    """Open the context, fetching it if it is remote, and read the Dockerfile.

    staging: the directory for a context from a pipe or the network.
    Raises UsageError, NoDockerfile, ArchiveError.
    """
    if options.context == "-" or options.context.startswith(_URLS):
        from minidock.engine.build.context_remote import open_remote

        return open_remote(options, staging, progress)
    folder = os.path.abspath(options.context)
    if not os.path.isdir(folder):
        raise UsageError(
            f'unable to prepare context: path "{options.context}" not found'
            if not os.path.lexists(folder)
            else f"unable to prepare context: the build context must be a directory: {folder}"
        )
    return of_folder(folder, options, progress, outside=True)
