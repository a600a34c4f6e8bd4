"""The table of top-level commands, and the root group."""

from __future__ import annotations

from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import in_section, switch, unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.frame.lazy import Table

COMMON, NOUNS, VERBS, TEACH = (
    "Common Commands",
    "Management Commands",
    "Commands",
    "Teaching Commands",
)

COMMANDS: Table = {
    "run": (COMMON, "run:run", "Create a container from an image and start it"),
    "exec": (COMMON, "exec:execute", "Run one more command in a running container"),
    "build": (COMMON, "build:build", "Build an image by the instructions of a Dockerfile"),
    "ps": (COMMON, "ps:ps", "List containers"),
    "pull": (COMMON, "pull:pull", "Pull an image from a registry"),
    "push": (COMMON, "push:push", "Push an image to a registry"),
    "images": (COMMON, "image_list:images", "List images"),
    "login": (COMMON, "login:login", "Store the credentials for a registry"),
    "logout": (COMMON, "login:logout", "Remove the stored credentials for a registry"),
    "version": (COMMON, "system:version", "Show the versions of minidock and its platform"),
    "info": (COMMON, "system:info", "Show information about this machine and the store"),
    "doctor": (COMMON, "doctor:doctor", "Check whether this machine can run containers"),
    "explain": (TEACH, "explain:explain", "Explain the kernel calls that created a container"),
    "look": (TEACH, "look:look", "Show how a container was made, as an animated picture"),
    "layers": (
        TEACH,
        "layers:layers",
        "Show the layers of an image and the changes of a container",
    ),
    "ns": (TEACH, "ns:ns", "Show namespaces: which processes share them, what they isolate"),
    "where": (
        TEACH,
        "where:where",
        "Show where each part of an object is stored, and how to view it",
    ),
    "plan": (TEACH, "plan:plan", "Show what a command would do, without doing it"),
    "packet": (TEACH, "packet:packet", "Trace one packet to a published port and back"),
    "script": (TEACH, "script:script", "Write a shell script equivalent to a command"),
    "lab": (TEACH, "lab:lab", "Write a container runtime yourself, and have it graded"),
    "builder": (NOUNS, "builder:builder", "Manage builds and the build cache"),
    "buildx": (NOUNS, "builder:buildx", "Alias of builder"),
    "container": (NOUNS, "container:container", "Manage containers"),
    "image": (NOUNS, "image:image", "Manage images"),
    "network": (NOUNS, "network:network", "Manage networks"),
    "system": (NOUNS, "system:system", "Manage minidock"),
    "volume": (NOUNS, "volume:volume", "Manage volumes"),
    "attach": (
        VERBS,
        "attach:attach",
        "Attach to the standard streams of a running container",
    ),
    "commit": (VERBS, "commit:commit", "Create an image from the changes of a container"),
    "completion": (
        VERBS,
        "completion:completion",
        "Print the completion script for a shell",
    ),
    "cp": (
        VERBS,
        "cp:cp",
        "Copy files between a container and the host",
    ),
    "create": (VERBS, "run:create", "Create a container without starting it"),
    "diff": (
        VERBS,
        "commit:diff",
        "List the files that a container added, changed or deleted",
    ),
    "events": (VERBS, "events:events", "Print the events of the store as they happen"),
    "export": (
        VERBS,
        "commit:export",
        "Write the file system of a container as a tar archive",
    ),
    "history": (VERBS, "history:history", "List the build steps of an image"),
    "import": (
        VERBS,
        "image_archive:import_",
        "Create an image from a tar archive of a root file system",
    ),
    "inspect": (
        VERBS,
        "inspect:inspect",
        "Show all details of containers, images, networks or volumes",
    ),
    "kill": (VERBS, "lifecycle:kill", "Send a signal to containers (default SIGKILL)"),
    "load": (VERBS, "image_archive:load", "Load images from a tar archive"),
    "logs": (VERBS, "logs:logs", "Print the output of a container"),
    "pause": (VERBS, "lifecycle:pause", "Freeze all processes of containers"),
    "port": (
        VERBS,
        "port:port",
        "List the published ports of a container",
    ),
    "rename": (VERBS, "lifecycle:rename", "Rename a container"),
    "restart": (VERBS, "lifecycle:restart", "Stop containers and start them again"),
    "rm": (VERBS, "lifecycle:rm", "Remove containers"),
    "rmi": (VERBS, "image:rm", "Remove images, or names of images"),
    "save": (
        VERBS,
        "image_archive:save",
        "Write images to a tar archive, on stdout by default",
    ),
    "search": (VERBS, "pull:search", "Search Docker Hub for images (in a browser)"),
    "start": (VERBS, "start:start", "Start stopped containers"),
    "stats": (
        VERBS,
        "stats:stats",
        "Show the resource usage of containers, continuously",
    ),
    "stop": (VERBS, "lifecycle:stop", "Stop running containers"),
    "tag": (VERBS, "image:tag", "Add a name to an image"),
    "top": (VERBS, "top:top", "List the processes of a container"),
    "unpause": (VERBS, "lifecycle:unpause", "Thaw all processes of paused containers"),
    "update": (
        VERBS,
        "update:update",
        "Change the limits and the restart policy of containers",
    ),
    "wait": (
        VERBS,
        "lifecycle:wait",
        "Wait until containers stop, and print their exit codes",
    ),
}
_NO_SWARM = "minidock works on one machine; it does not support Swarm"
_NO_DAEMON = "minidock has no daemon; it works on this machine, with the store at MINIDOCK_ROOT"
ABSENT = {
    **dict.fromkeys(("config", "node", "secret", "service", "stack", "swarm"), _NO_SWARM),
    "checkpoint": "checkpoint and restore need CRIU, which minidock does not use",
    "compose": "start containers one by one, with `minidock run`",
    "context": _NO_DAEMON,
    "manifest": "images are built and pushed only for the architecture of this machine",
    "plugin": "minidock has only built-in drivers for volumes, networks and logs",
    "trust": "images are identified by digest; signatures are not supported",
}


@in_section(
    "Global Options",
    switch("-D", "--debug", help="Show the Python traceback of an error"),
    switch("-v", "--version", help="Print the version of minidock"),
    unsupported("-H", "--host", because=_NO_DAEMON),
    unsupported("-c", "--context", because=_NO_DAEMON),
    unsupported(
        "--config",
        because="set DOCKER_CONFIG instead; credentials are read from there or from ~/.docker",
    ),
    unsupported(
        "-l",
        "--log-level",
        because="there is no daemon log; --debug shows the traceback of an error",
    ),
    unsupported("--tls", because=_NO_DAEMON, bare="true"),
    unsupported("--tlsverify", because=_NO_DAEMON, bare="true"),
    *(unsupported(f"--tls{what}", because=_NO_DAEMON) for what in ("cacert", "cert", "key")),
)
def _root(given: dict[str, object]) -> bool:
    """Containers, one kernel call at a time."""
    if "version" in given:
        from minidock.cli.frame.version import VERSION

        print(f"minidock version {VERSION}")
    return "version" in given


minidock = Group(COMMANDS, _root, absent=ABSENT)
