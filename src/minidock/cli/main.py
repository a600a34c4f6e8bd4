"""The command `minidock`: which commands there are, and how every one of them ends.

What a command does is in its own module, imported when it is run. This module turns what they raise
into what a person sees: one sentence, a hint, where to read on, and Docker's exit code. Tracebacks
only with --debug.
"""

from __future__ import annotations

import os
import sys

from minidock.cli.failure import complain
from minidock.cli.lazy import Group
from minidock.cli.pflag import in_section, refused, switch
from minidock.errors import MinidockError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.lazy import Table

COMMON, NOUNS, VERBS, TEACH = "Common Commands", "Management Commands", "Commands", "To learn from"

COMMANDS: Table = {
    "run": (COMMON, "run:run", "Create and run a new container from an image"),
    "exec": (COMMON, "exec:execute", "Execute a command in a running container"),
    "build": (COMMON, "build:build", "Build an image from a Dockerfile"),
    "ps": (COMMON, "ps:ps", "List containers"),
    "pull": (COMMON, "pull:pull", "Download an image from a registry"),
    "push": (COMMON, "push:push", "Upload an image to a registry"),
    "images": (COMMON, "image_list:images", "List images"),
    "login": (COMMON, "login:login", "Log in to a registry"),
    "logout": (COMMON, "login:logout", "Log out from a registry"),
    "version": (COMMON, "system:version", "Show the minidock version information"),
    "info": (COMMON, "system:info", "Display system-wide information"),
    "doctor": (COMMON, "doctor:doctor", "Say what this machine can and cannot do"),
    "explain": (TEACH, "explain:explain", "Tell each kernel call that made a container"),
    "layers": (
        TEACH,
        "layers:layers",
        "Show the layers of an image, and what a container does to them",
    ),
    "ns": (TEACH, "ns:ns", "Show namespaces: who shares which, and what they hide"),
    "where": (TEACH, "where:where", "Show where each part of it lives, and how to look at it"),
    "plan": (TEACH, "plan:plan", "Tell what a command would do, and do nothing"),
    "packet": (TEACH, "packet:packet", "Follow one packet to a published port and back"),
    "script": (TEACH, "script:script", "Write a shell script that does what a command would do"),
    "builder": (NOUNS, "builder:builder", "Manage builds and their cache"),
    "buildx": (NOUNS, "builder:buildx", "The same as builder, by Docker's newer name"),
    "container": (NOUNS, "container:container", "Manage containers"),
    "image": (NOUNS, "image:image", "Manage images"),
    "network": (NOUNS, "network:network", "Manage networks"),
    "system": (NOUNS, "system:system", "Manage minidock"),
    "volume": (NOUNS, "volume:volume", "Manage volumes"),
    "attach": (
        VERBS,
        "attach:attach",
        "Attach local standard input, output, and error streams to a running container",
    ),
    "commit": (VERBS, "commit:commit", "Create a new image from a container's changes"),
    "completion": (
        VERBS,
        "completion:completion",
        "Generate the autocompletion script for the specified shell",
    ),
    "cp": (
        VERBS,
        "cp:cp",
        "Copy files/folders between a container and the local filesystem",
    ),
    "create": (VERBS, "run:create", "Create a new container"),
    "diff": (VERBS, "commit:diff", "Inspect changes to files on a container's filesystem"),
    "events": (VERBS, "events:events", "Get real time events from the store"),
    "export": (
        VERBS,
        "commit:export",
        "Export a container's filesystem as a tar archive",
    ),
    "history": (VERBS, "history:history", "Show the history of an image"),
    "import": (
        VERBS,
        "image_archive:import_",
        "Import the contents from a tarball to create a filesystem image",
    ),
    "inspect": (VERBS, "inspect:inspect", "Return low-level information on objects"),
    "kill": (VERBS, "lifecycle:kill", "Kill one or more running containers"),
    "load": (VERBS, "image_archive:load", "Load an image from a tar archive or STDIN"),
    "logs": (VERBS, "logs:logs", "Fetch the logs of a container"),
    "pause": (VERBS, "lifecycle:pause", "Pause all processes within one or more containers"),
    "port": (
        VERBS,
        "port:port",
        "List port mappings or a specific mapping for the container",
    ),
    "rename": (VERBS, "lifecycle:rename", "Rename a container"),
    "restart": (VERBS, "lifecycle:restart", "Restart one or more containers"),
    "rm": (VERBS, "lifecycle:rm", "Remove one or more containers"),
    "rmi": (VERBS, "image:rm", "Remove one or more images"),
    "save": (VERBS, "image_archive:save", "Save one or more images to a tar archive"),
    "search": (VERBS, "pull:search", "Search Docker Hub for images (in a browser)"),
    "start": (VERBS, "start:start", "Start one or more stopped containers"),
    "stats": (
        VERBS,
        "stats:stats",
        "Display a live stream of container(s) resource usage statistics",
    ),
    "stop": (VERBS, "lifecycle:stop", "Stop one or more running containers"),
    "tag": (VERBS, "image:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "top": (VERBS, "top:top", "Display the running processes of a container"),
    "unpause": (VERBS, "lifecycle:unpause", "Unpause all processes within containers"),
    "update": (
        VERBS,
        "update:update",
        "Update configuration of one or more containers",
    ),
    "wait": (VERBS, "lifecycle:wait", "Block until containers stop, then print their exit codes"),
}
_NO_SWARM = "minidock works on this machine alone, and knows no swarm"
_NO_DAEMON = "minidock has no daemon; it works on this machine, in the store at MINIDOCK_ROOT"
ABSENT = {
    **dict.fromkeys(("config", "node", "secret", "service", "stack", "swarm"), _NO_SWARM),
    "checkpoint": "a process is not frozen to disk, which needs CRIU",
    "compose": "containers are started one by one",
    "context": _NO_DAEMON,
    "manifest": "an image is made and pushed for this machine's architecture alone",
    "plugin": "volumes, networks and logs have no drivers besides minidock's own",
    "trust": "images are known by their digest, and not signed",
}


@in_section(
    "Global Options",
    switch("-D", "--debug", help="Show Python's traceback with an error"),
    switch("-v", "--version", help="Print version information and quit"),
    refused("-H", "--host", because=_NO_DAEMON),
    refused("-c", "--context", because=_NO_DAEMON),
    refused("--config", because="logins are read from DOCKER_CONFIG or ~/.docker"),
    refused("-l", "--log-level", because="there is no log; --debug tells more of an error"),
    refused("--tls", because=_NO_DAEMON, bare="true"),
    refused("--tlsverify", because=_NO_DAEMON, bare="true"),
    *(refused(f"--tls{what}", because=_NO_DAEMON) for what in ("cacert", "cert", "key")),
)
def _root(given: dict[str, Any]) -> bool:
    """Containers, one kernel call at a time."""
    if "version" in given:
        from minidock.cli.release import VERSION

        print(f"minidock version {VERSION}")
    return "version" in given


minidock = Group(COMMANDS, _root, absent=ABSENT)


def run(argv: list[str]) -> int:
    """Run one command line; returns its exit code, having said what went wrong."""
    debug = argv[:1] in (["-D"], ["--debug"])
    try:
        if asked := os.environ.get("_MINIDOCK_COMPLETE"):
            from minidock.cli.screen import complete

            return complete(minidock, asked)
        code = minidock.run("minidock", argv)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        if debug or not _reader_is_gone():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that nothing more is written to it
        return 141  # 128 + SIGPIPE: what a program says that this signal ended
    except MinidockError as error:
        if debug:
            raise
        complain(error)
        return error.exit_code


def _reader_is_gone() -> bool:
    """Has the program that reads our standard output closed its end of the pipe?"""
    import select

    watch = select.poll()
    watch.register(1, 0)
    return any(event & select.POLLERR for _, event in watch.poll(0))
