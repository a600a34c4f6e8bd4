"""Which commands there are: the table of minidock's own, and the group that finds them."""

from __future__ import annotations

from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import in_section, refused, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.cli.frame.lazy import Table

COMMON, NOUNS, VERBS, TEACH = "Common Commands", "Management Commands", "Commands", "To learn from"

COMMANDS: Table = {
    "run": (COMMON, "run:run", "Make a container from an image and start it"),
    "exec": (COMMON, "exec:execute", "Start one more program in a running container"),
    "build": (COMMON, "build:build", "Make an image by the steps of a Dockerfile"),
    "ps": (COMMON, "ps:ps", "List the containers"),
    "pull": (COMMON, "pull:pull", "Fetch an image from a registry"),
    "push": (COMMON, "push:push", "Send an image to a registry"),
    "images": (COMMON, "image_list:images", "List the images"),
    "login": (COMMON, "login:login", "Remember a user and password for a registry"),
    "logout": (COMMON, "login:logout", "Forget a registry's user and password"),
    "version": (COMMON, "system:version", "Say the versions of minidock and of what it runs on"),
    "info": (COMMON, "system:info", "Tell about this machine and the store"),
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
    "lab": (TEACH, "lab:lab", "Write a container runtime yourself, and have it looked at"),
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
        "Join the input and output of a running container",
    ),
    "commit": (VERBS, "commit:commit", "Make an image of what a container has changed"),
    "completion": (
        VERBS,
        "completion:completion",
        "Print the script by which a shell completes minidock's words",
    ),
    "cp": (
        VERBS,
        "cp:cp",
        "Copy files and folders into a container or out of it",
    ),
    "create": (VERBS, "run:create", "Make a container without starting it"),
    "diff": (VERBS, "commit:diff", "List what a container has added, changed and deleted"),
    "events": (VERBS, "events:events", "Tell what happens in the store, as it happens"),
    "export": (
        VERBS,
        "commit:export",
        "Write all files of a container as a tar",
    ),
    "history": (VERBS, "history:history", "List the steps that made an image"),
    "import": (
        VERBS,
        "image_archive:import_",
        "Make an image of the files in a tar",
    ),
    "inspect": (
        VERBS,
        "inspect:inspect",
        "Show all that is known of a container, image, volume or network",
    ),
    "kill": (VERBS, "lifecycle:kill", "Send containers a signal, KILL if no other is named"),
    "load": (VERBS, "image_archive:load", "Take in images that save has written"),
    "logs": (VERBS, "logs:logs", "Show what a container has printed"),
    "pause": (VERBS, "lifecycle:pause", "Freeze all processes of containers"),
    "port": (
        VERBS,
        "port:port",
        "Say where a container's ports are published",
    ),
    "rename": (VERBS, "lifecycle:rename", "Give a container another name"),
    "restart": (VERBS, "lifecycle:restart", "Stop containers and start them again"),
    "rm": (VERBS, "lifecycle:rm", "Remove containers"),
    "rmi": (VERBS, "image:rm", "Remove images, or only their names"),
    "save": (VERBS, "image_archive:save", "Write images as a tar, to standard output or a file"),
    "search": (VERBS, "pull:search", "Search Docker Hub for images (in a browser)"),
    "start": (VERBS, "start:start", "Start containers that do not run"),
    "stats": (
        VERBS,
        "stats:stats",
        "Watch what containers use of processors, memory, network and disks",
    ),
    "stop": (VERBS, "lifecycle:stop", "Ask containers to end, and end them when they do not"),
    "tag": (VERBS, "image:tag", "Give an image one more name"),
    "top": (VERBS, "top:top", "List a container's processes"),
    "unpause": (VERBS, "lifecycle:unpause", "Let frozen containers run on"),
    "update": (
        VERBS,
        "update:update",
        "Change limits and restart policy of containers",
    ),
    "wait": (VERBS, "lifecycle:wait", "Wait for the end of containers and print their exit codes"),
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
    switch("-v", "--version", help="Say which minidock this is"),
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
        from minidock.cli.frame.version import VERSION

        print(f"minidock version {VERSION}")
    return "version" in given


minidock = Group(COMMANDS, _root, absent=ABSENT)
