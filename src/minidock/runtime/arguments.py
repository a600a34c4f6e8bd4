"""The command line of `minidock-runtime`: a table of its commands and flags, and their parser.

    minidock-runtime [global flags] COMMAND [flags] [arguments]

It is runc's command line, which containerd, dockerd, podman and CRI-O use for every runtime. Go's
rules apply: one dash or two, `--flag value` or `--flag=value`, and a boolean flag takes `=false`.
Flags may follow the arguments, unless these are another program's command line (exec, ps). runc's
unsupported flags are listed with the reason and rejected: ignoring one could silently drop
isolation that the caller asked for.

argparse is not used because its import takes 8 ms, a third of the whole command.

Source: runc(8) and its subcommands' pages.
"""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.numerals import atoi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROGRAM = "minidock-runtime"
DEFAULT_ROOT = "/run/minidock-runtime"


class Flag:
    """One flag.

    names: without dashes, the long one first. takes: the placeholder of its value, "" for a
    boolean flag. kind: str, int, or list (repeatable). refused: why it is unsupported; `harmless`
    is the value that has no effect and is accepted.
    """

    def __init__(
        self,
        names: str,
        about: str,
        *,
        takes: str = "",
        kind: type = str,
        default: Any = None,
        refused: str = "",
        harmless: Any = False,
    ) -> None:
        self.names = names.split()
        self.about = about
        self.takes = takes
        self.kind = kind if takes else bool
        self.default = default if takes else False
        self.refused = refused
        self.harmless = harmless

    @property
    def key(self) -> str:
        """Its name in Call.flags."""
        return self.names[0].replace("-", "_")

    def value_of(self, word: str, before: Any) -> Any:
        """The flag's new value after the argument `word`. Raises UsageError."""
        named = f"flag -{self.names[0]}"
        if self.kind is bool:
            if word not in ("true", "false"):
                raise UsageError(f"invalid boolean value {word!r} for {named}")
            return word == "true"
        if self.kind is int:
            try:
                return atoi(word)
            except ValueError:
                raise UsageError(f"invalid value {word!r} for {named}: not a number") from None
        if self.kind is list:
            return [*(before or []), word]
        return word


class Command:
    """One command.

    takes: its arguments, for the help. least, most: how many (most None: any number). sealed:
    creates processes in containers, so it runs in the sealed interpreter. foreign: its arguments
    are another program's command line, so flags end at the first of them.
    """

    def __init__(
        self,
        about: str,
        flags: tuple[Flag, ...] = (),
        *,
        takes: str = "<container-id>",
        least: int = 1,
        most: int | None = 1,
        sealed: bool = False,
        foreign: bool = False,
        refused: str = "",
    ) -> None:
        self.about = about
        self.flags = flags
        self.takes = takes
        self.least = least
        self.most = most
        self.sealed = sealed
        self.foreign = foreign
        self.refused = refused


class Call:
    """A parsed command line.

    command: a key of COMMANDS, "help" or "version". options: global flags; flags: the command's
    own; arguments: the rest.
    """

    def __init__(self) -> None:
        self.command = "help"
        self.options: dict[str, Any] = {}
        self.flags: dict[str, Any] = {}
        self.arguments: list[str] = []

    @property
    def id(self) -> str:
        """The container id."""
        return self.arguments[0]


GLOBAL_FLAGS = (
    Flag("root", "directory of the containers' state; should be on a tmpfs", takes="DIR",
         default=DEFAULT_ROOT),
    Flag("log", "file for errors and warnings, beside standard error", takes="FILE"),
    Flag("log-format", "format of the log: text or json", takes="FORMAT", default="text"),
    Flag("debug", "log each operation on the kernel, before and after it"),
    Flag("systemd-cgroup", "have systemd create the cgroups",
         refused="cgroups are created in cgroupfs; use the cgroupfs driver or manager"),
    Flag("rootless", "ignore cgroup permission errors (true, false, auto)", takes="BOOL",
         refused="containers need root", harmless="false"),
    Flag("criu", "path of the criu program", takes="PATH",
         refused="checkpoint and restore are not supported"),
    Flag("help h", "show help"),
    Flag("version v", "print the version"),
)  # fmt: skip

_HELP = Flag("help h", "show help")
_BUNDLE = Flag("bundle b", "directory with config.json and the rootfs", takes="DIR", default="")
_PID_FILE = Flag("pid-file", "file to write the process's id to", takes="FILE")
_CONSOLE_SOCKET = Flag(
    "console-socket",
    "Unix socket that receives the master of the container's terminal",
    takes="PATH",
)
_PRESERVE_FDS = Flag(
    "preserve-fds", "number of descriptors to pass, beyond stdio and LISTEN_FDS",
    takes="N", kind=int, default=0,
)  # fmt: skip
_DETACH = Flag("detach d", "exit once the process runs")
_FORMAT = Flag("format f", "table or json", takes="FORMAT", default="table")
_NO_PIVOT = Flag(
    "no-pivot", "use MS_MOVE and chroot instead of pivot_root",
    refused="the root is always changed by pivot_root",
)  # fmt: skip
_NO_KEYRING = Flag("no-new-keyring", "keep the caller's session keyring")
_MAKING = (_BUNDLE, _CONSOLE_SOCKET, _PID_FILE, _PRESERVE_FDS, _NO_KEYRING, _NO_PIVOT)

COMMANDS = {
    "create": Command("create a container; start runs its command", _MAKING, sealed=True),
    "delete": Command(
        "delete a container",
        (Flag("force f", "kill it first if it runs"),),
    ),
    "exec": Command(
        "run one more process in a container",
        (
            _CONSOLE_SOCKET,
            Flag("cwd", "working directory in the container", takes="DIR"),
            Flag("env e", "set an environment variable", takes="NAME=VALUE", kind=list),
            Flag("tty t", "allocate a terminal"),
            Flag("user u", "uid[:gid] in numbers", takes="UID[:GID]"),
            Flag("additional-gids g", "additional group", takes="GID", kind=list),
            Flag("process p", "file with an OCI process object", takes="FILE"),
            _DETACH,
            _PID_FILE,
            Flag("process-label", "SELinux label", takes="LABEL",
                 refused="SELinux is not supported"),
            Flag("apparmor", "AppArmor profile", takes="PROFILE"),
            Flag("no-new-privs", "set no_new_privs"),
            Flag("cap c", "additional capability", takes="CAP", kind=list),
            _PRESERVE_FDS,
            Flag("cgroup", "put it in a cgroup below the container's", takes="PATH",
                 refused="the process joins the container's own cgroup"),
            Flag("ignore-paused", "also if the container is paused"),
        ),
        takes="<container-id> <command> [arguments]", most=None, sealed=True, foreign=True,
    ),
    "kill": Command(
        "send a signal to a container's first process",
        (Flag("all a", "send it to every process in the container"),),
        takes="<container-id> [signal]", most=2,
    ),
    "list": Command(
        "list the containers of this root",
        (_FORMAT, Flag("quiet q", "only their ids")),
        takes="", least=0, most=0,
    ),
    "pause": Command("freeze every process of a container"),
    "ps": Command(
        "list the processes of a container", (_FORMAT,),
        takes="<container-id> [options of ps]", most=None, foreign=True,
    ),
    "resume": Command("resume a paused container"),
    "run": Command(
        "create a container, start it, and delete it once it has stopped",
        (
            *_MAKING, _DETACH,
            Flag("keep", "do not delete it once it has stopped"),
            Flag("no-subreaper", "do not become the parent of orphans (it never does)"),
        ),
        sealed=True,
    ),
    "spec": Command(
        "write a template of config.json",
        (_BUNDLE, Flag("rootless", "for a container without root",
                       refused="containers need root")),
        takes="", least=0, most=0,
    ),
    "start": Command("start the command of a created container"),
    "state": Command("print a container's state"),
    "update": Command(
        "change a container's limits",
        (
            Flag("resources r", "file with linux.resources, - for standard input", takes="FILE"),
            Flag("blkio-weight", "weight of block I/O, 10 to 1000", takes="N", kind=int),
            Flag("cpu-period", "CPU period in microseconds", takes="N", kind=int),
            Flag("cpu-quota", "CPU time per period in microseconds", takes="N", kind=int),
            Flag("cpu-burst", "CPU burst in microseconds", takes="N", kind=int),
            Flag("cpu-share", "weight of CPU time", takes="N", kind=int),
            Flag("cpu-rt-period", "realtime period in microseconds", takes="N", kind=int),
            Flag("cpu-rt-runtime", "realtime per period in microseconds", takes="N", kind=int),
            Flag("cpuset-cpus", "CPUs that may be used", takes="LIST"),
            Flag("cpuset-mems", "memory nodes that may be used", takes="LIST"),
            Flag("memory", "limit in bytes", takes="N", kind=int),
            Flag("memory-reservation", "soft limit in bytes", takes="N", kind=int),
            Flag("memory-swap", "memory and swap in bytes, -1 for no limit", takes="N", kind=int),
            Flag("pids-limit", "maximum number of processes", takes="N", kind=int),
            Flag("l3-cache-schema", "Intel RDT", takes="SCHEMA",
                 refused="Intel RDT is not supported"),
            Flag("mem-bw-schema", "Intel RDT", takes="SCHEMA",
                 refused="Intel RDT is not supported"),
        ),
    ),
    "checkpoint": Command("checkpoint a container", refused="needs criu"),
    "restore": Command("restore a checkpoint", refused="needs criu"),
    "events": Command("print events and statistics", refused="read its cgroup instead"),
}  # fmt: skip


def parse(words: list[str]) -> Call:
    """Parse a command line.

    Raises UsageError.
    """
    call = Call()
    call.options, rest = _flags(words, GLOBAL_FLAGS, foreign=True)
    if call.options["log_format"] not in ("text", "json"):
        raise UsageError(f"invalid log-format: {call.options['log_format']}")
    if call.options["version"]:
        call.command = "version"
        return call
    if call.options["help"] or not rest or rest[0] in ("help", "h"):
        call.arguments = [word for word in rest if word in COMMANDS][:1]
        return call
    name, words = rest[0], rest[1:]
    command = COMMANDS.get(name)
    if command is None:
        raise UsageError(f"unknown command {name!r}", hint=f"see {PROGRAM} --help")
    call.flags, call.arguments = _flags(words, (*command.flags, _HELP), foreign=command.foreign)
    if call.flags["help"]:
        call.arguments = [name]
        return call
    if command.refused:
        raise UsageError(f"{name} is not supported: {command.refused}")
    call.command = name
    _check_number(name, command, len(call.arguments))
    return call


def _check_number(name: str, command: Command, given: int) -> None:
    least, most = command.least, command.most
    if given >= least and (most is None or given <= most):
        return
    wanted = f"exactly {least}" if most == least else f"at least {least}"
    if most is not None and given > most:
        wanted = f"a maximum of {most}" if most != least else wanted
    raise UsageError(f'{PROGRAM}: "{name}" requires {wanted} argument(s)')


def _flags(
    words: list[str], flags: tuple[Flag, ...], *, foreign: bool
) -> tuple[dict[str, Any], list[str]]:
    """Split the words into flags, by key, and arguments."""
    known = {name: flag for flag in flags for name in flag.names}
    values = {flag.key: flag.default for flag in flags}
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            return values, rest + words[at:]
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if foreign:
                return values, rest + words[at:]
            continue
        name, equals, value = word.lstrip("-").partition("=")
        flag = known.get(name)
        if flag is None:
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals and flag.kind is bool:
            value = "true"
        elif not equals:
            if at == len(words):
                raise UsageError(f"flag needs an argument: -{name}")
            value = words[at]
            at += 1
        values[flag.key] = _accepted(flag, name, value, values[flag.key])
    return values, rest


def _accepted(flag: Flag, name: str, text: str, before: Any) -> Any:
    """The value of a flag given as text. Raises UsageError for one that is not supported.

    before: what earlier uses of the flag have set, or its default.
    """
    given = flag.value_of(text, before)
    if flag.refused and given != flag.harmless:
        raise UsageError(f"flag -{name} is not supported: {flag.refused}")
    return given


def help_text(name: str = "") -> str:
    """The help of one command, or of the program."""
    if name:
        command = COMMANDS[name]
        about = f"{name} - {command.about}"
        usage = f"{PROGRAM} {name} [flags] {command.takes}".rstrip()
        flags = (*command.flags, _HELP)
        commands: list[tuple[str, str]] = []
    else:
        about = f"{PROGRAM} - an Open Container Initiative runtime"
        usage = f"{PROGRAM} [global flags] COMMAND [flags] [arguments]"
        flags = GLOBAL_FLAGS
        commands = [(key, each.about) for key, each in COMMANDS.items() if not each.refused]
    shown = [(_spelled(flag), flag.about) for flag in flags if not flag.refused]
    lines = [about, "", "usage:", f"    {usage}"]
    if commands:
        lines += ["", "commands:", *_columns(commands)]
    lines += ["", "flags:" if name else "global flags:", *_columns(shown)]
    return "\n".join(lines) + "\n"


def _spelled(flag: Flag) -> str:
    names = ", ".join(("--" if len(name) > 1 else "-") + name for name in flag.names)
    return f"{names} {flag.takes}".rstrip()


def _columns(rows: list[tuple[str, str]]) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"    {left:<{width}}  {right}" for left, right in rows]
