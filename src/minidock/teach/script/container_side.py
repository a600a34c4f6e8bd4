"""The container's side of a script, in three stages of one file.

    init     joins its cgroups; the cgroup namespace created after that has its root there
    isolate  host name, mounts, up to pivot_root: with the host's programs
    inside   with a static busybox, through a descriptor, since PATH is the container's now; it ends
             with exec of setpriv from the same directory
    last     with the command's user and capabilities: closes descriptors, and executes the command

A shell cannot change its own capabilities, user and groups; they become options of one setpriv
call, which applies them in the order that the kernel needs.
"""

from __future__ import annotations

import re

from minidock.errors import UsageError
from minidock.kernel import cgroup, cgroup_v1
from minidock.teach.plan.rootfs import Layers
from minidock.teach.script.lines import NO_TWIN, Lines
from minidock.teach.script.shell_quoting import command, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.runtime_spec import RuntimeConfig
    from minidock.teach.plan.plan import Plan
    from minidock.teach.plan.planned_ops import PlannedOp
    from minidock.teach.script.shell_quoting import Variables

_SETPRIV = "exec /proc/self/fd/9 --library-path /proc/self/fd/8 /proc/self/fd/8/setpriv"
_DIES_WITH_PARENT = "--pdeathsig KILL"  # again: the kernel clears it when the user changes
_BUSYBOX = "/proc/self/fd/8/busybox"
_SHELLS_OWN = ("OLDPWD", "PWD", "SHLVL")  # variables that a shell exports by itself
# Variables that a shell exports unchanged: not those that it sets or uses itself.
_PASSED_ON = re.compile(
    r"(?!(?:_.*|IFS|OPTIND|PWD|OLDPWD|PPID|SHLVL|LINENO|RANDOM|FUNCNAME)=)"
    r"[A-Za-z_][A-Za-z0-9_]*="
)
_CLOSED = ("nosuid", "nodev", "noexec")


class ContainerSide:
    """Writes init's operations, each into its stage."""

    def __init__(self, plan: Plan, variables: Variables) -> None:
        self.init, self.isolate, self.inside = Lines(), Lines(), Lines()
        self._variables = variables
        self._layers = Layers(plan.layers)
        self._spec = plan.config["process"]
        self._rootfs = plan.container.paths.merged
        self._short = plan.container.id[:12]
        self._stage = self.init
        self._covered: list[str] = []  # mount points so far: their content is not the image's
        self._flags: dict[str, str] = {}  # mount point -> flags that a remount must repeat
        self._setpriv: list[str] = []
        self._own_cgroup = False
        self._clone_cgroup = _unified(plan)

    def write(self, act: PlannedOp) -> None:
        """Write one operation of init."""
        if self._clone_cgroup:
            self.init.comment(
                "── clone3 creates it in this cgroup; a shell has to join it. cgroups(7)"
            )
            place = word(self._variables.mark(f"{self._clone_cgroup}/cgroup.procs"))
            self.init.write(f"echo 0 > {place}")
            self._clone_cgroup = ""
        if act.op.name == "cgroup.write_file":
            self._write(self.init, act)
            return
        if self._stage is self.init:
            self._stage = self.isolate
        name = act.op.name
        if name == "namespace.unshare":
            self._own_cgroup = True
        elif name == "process.new_session":
            return  # setsid(1), a prefix of init itself
        elif name in NO_TWIN:
            self._stage.missing(act)
        elif act.phase.endswith("rootfs.console_steps"):
            return  # without a terminal inside there is no console
        elif name == "mount.pivot_root":
            self._write(self.isolate, act)
            self._stage = self.inside
        elif name in _PREFIXES:
            self._stage.why(act)
            self._stage.comment(f"  (an option of setpriv below: {self._prefix(act)})")
        elif name == "init.wait_for_start":
            self._wait(act)
        elif name == "process.execute":
            self._execute(act)
        else:
            self._write(self._stage, act)

    def end_of_init(self) -> None:
        """End the first stage with exec of the second."""
        shell = 'sh "$0" isolate'
        if self._own_cgroup:
            self.init.comment("Give the container a cgroup tree of its own. unshare(2)")
            shell = f"unshare --cgroup {shell}"
        self.init.write(f"exec {shell}")

    def _write(self, lines: Lines, act: PlannedOp) -> None:
        lines.why(act)
        lines.write(*self._twin(act))

    def _twin(self, act: PlannedOp) -> list[str]:
        arguments = dict(act.arguments)
        name, target = act.op.name, arguments.get("target", "")
        if name.startswith(("mount.", "node.make_mount")) and arguments.get("root") == self._rootfs:
            target = arguments["target"] = self._resolved(target)
        twin = command(act.op.twin(**self._variables.mark(arguments)))
        place = word(self._variables.mark(_joined(arguments.get("root", ""), target)))
        if name == "mount.mount_filesystem":
            self._remember(target, arguments["flags"])
        elif name == "mount.bind_mount":
            self._covered.append(target)
        elif name == "mount.set_mount_attributes":
            again = self._again(target)
            twin = twin.replace("remount,bind,", f"remount,bind,{again}")
            if arguments["root"] == "/":
                return [f"if [ -e {place} ]; then {twin}; fi"]
        elif name == "mount.bind_to_itself" and arguments["root"] == "/":
            return [f"if [ -e {place} ]; then {twin}; fi"]
        elif name == "mount.mask_path":
            place = word(arguments["path"])
            return [f"if [ -e {place} ]; then", *(f"    {x}" for x in twin.split("\n")), "fi"]
        elif name in ("node.make_device", "node.make_link"):
            place = word(arguments["path"])
            return [f"[ -e {place} ] || [ -L {place} ] || {twin}"]
        return [twin]

    def _resolved(self, target: str) -> str:
        """Resolve the image's symbolic links as inside; on the host they would leave the root."""
        if any(target == p or target.startswith(f"{p}/") for p in self._covered if p != "/"):
            return target
        return self._layers.resolve(target)

    def _remember(self, target: str, flags: int) -> None:
        """Note the flags that a read-only remount (mount(2)) would clear."""
        from minidock.kernel.mount import flag_words

        self._covered.append(target)
        words = [word for word in flag_words(flags) if word in _CLOSED]
        self._flags[target] = "".join(f"{word}," for word in words)

    def _again(self, target: str) -> str:
        above = [p for p in self._flags if target == p or target.startswith(f"{p}/")]
        return self._flags[max(above, key=len)] if above else ""

    # The end

    def _prefix(self, act: PlannedOp) -> str:
        """The option of setpriv for an operation, for the exec at the end."""
        arguments, name = act.arguments, act.op.name
        if name == "capability.set_bounding":
            option = f"--bounding-set {_capabilities(arguments['keep'])}"
        elif name == "capability.set_capabilities":
            option = f"--inh-caps {_capabilities(arguments['inheritable'])}"
        elif name == "capability.set_ambient":
            option = f"--ambient-caps {_capabilities(arguments['names'])}"
        elif name == "capability.set_no_new_privs":
            option = "--no-new-privs"
        elif name == "process.set_groups":
            gids = ",".join(map(str, arguments["gids"]))
            option = f"--groups {gids}" if gids else "--clear-groups"
        elif name == "process.set_user":
            option = f"--reuid {arguments['uid']} --regid {arguments['gid']}"
        else:
            return "setpriv keeps them itself"
        self._setpriv.append(option)
        return option

    def _wait(self, act: PlannedOp) -> None:
        self.inside.why(act)
        self.inside.write('echo "ready $PID" >&3', "read -r _ <&4", "exec 3>&- 4>&-")

    def _execute(self, act: PlannedOp) -> None:
        self.inside.why(act)
        lines = [_SETPRIV, _DIES_WITH_PARENT, *self._setpriv, *self._last(act.arguments["path"])]
        self.inside.write(" \\\n    ".join(lines))

    def _last(self, path: str) -> list[str]:
        """The last stage and its arguments: literals of the run, without variables.

        A shell only exports variables with valid names. If there are others, env sets them after
        that shell has closed its descriptors. busybox's env prefers its own applets to PATH, so it
        gets the command's path, which becomes argv[0] too.
        """
        argv = [word(argument) for argument in self._spec["args"]]
        environment = [self._entry(entry) for entry in self._spec["env"]]
        last = f"{_BUSYBOX} sh /proc/self/fd/8/box.sh last"
        if all(_PASSED_ON.match(entry) for entry in self._spec["env"]):
            return [
                f"{_BUSYBOX} env -i",
                *environment,
                f"{last} {word(path)}",
                *argv,
            ]
        by_env = f"{_BUSYBOX} env -i {last} /proc/self/exe busybox env -i --"
        return [by_env, *environment, word(path), *argv[1:]]

    def _entry(self, entry: str) -> str:
        """A variable of the command's environment; the default HOSTNAME becomes a variable."""
        is_ours = entry == f"HOSTNAME={self._short}"
        return word(self._variables.mark(entry) if is_ours else entry)


_PREFIXES = (
    "capability.set_bounding", "capability.keep_capabilities", "capability.set_capabilities",
    "capability.set_ambient", "capability.set_no_new_privs", "process.set_groups",
    "process.set_user",
)  # fmt: skip


def shell_variables(environment: list[str]) -> str:
    """The variables that the command would get from a shell, and not from its config."""
    names = [entry.partition("=")[0] for entry in environment]
    return " ".join(name for name in _SHELLS_OWN if name not in names)


def _unified(plan: Plan) -> str:
    """The cgroup v2 directory in which clone3 creates init, "" if none."""
    clone = next(act for act in plan.ops.all if act.op.name == "namespace.clone_process")
    if clone.arguments["cgroup_fd"] is None:
        return ""
    if cgroup.is_v2():
        return f"{cgroup.ROOT}{plan.config['linux']['cgroupsPath']}"
    return f"{cgroup_v1.trees()['']}{plan.config['linux']['cgroupsPath']}"


def _capabilities(names: list[str]) -> str:
    return ",".join(["-all", *("+" + name[4:].lower() for name in names)])


def _joined(root: str, target: str) -> str:
    return (root.rstrip("/") + "/" + target.lstrip("/")).rstrip("/") or "/"


def check(config: RuntimeConfig) -> None:
    """Raise UsageError if the script could not run its own programs, or the command, inside."""
    if any("=" not in entry for entry in config["process"]["env"]):
        raise UsageError("a script needs a '=' in each environment variable")
    if "=" in config["process"]["args"][0]:
        raise UsageError("a script cannot start a command with a '=' in its name")
    if not any(entry["destination"] == "/proc" for entry in config["mounts"]):
        raise UsageError(
            "a script needs /proc in its container, to execute its programs by descriptor"
        )
