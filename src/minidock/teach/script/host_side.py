"""The host's side of a script: the operations of the engine and the monitor, and their undo.

An operation becomes its twin. The shell function `undo` pushes the command that releases a resource
onto a stack; an exit trap executes the stack from the last to the first.
"""

from __future__ import annotations

import re

from minidock.engine.container import own_layer
from minidock.engine.container.validation import in_container
from minidock.engine.network import bridge, firewall
from minidock.errors import UsageError
from minidock.kernel import cgroup, systemd
from minidock.runtime.program import Slot
from minidock.teach.plan.rootfs import Layers
from minidock.teach.script.lines import NO_TWIN, Lines
from minidock.teach.script.shell_quoting import command, here_document, mark_of, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

    class Arguments(TypedDict, total=False):
        """Those arguments of the host's ops that are read here, after `Variables.mark`."""

        path: str
        value: str
        name: str
        slice_name: str
        place: str
        rules: str
        target: str
        upperdir: str
        workdir: str

    from minidock.teach.plan.plan import Plan
    from minidock.teach.plan.planned_ops import PlannedOp
    from minidock.teach.script.shell_quoting import Variables


class HostSide:
    """Writes the host's operations in order. lines: the result."""

    def __init__(self, plan: Plan, variables: Variables) -> None:
        self.lines = Lines()
        self._plan = plan
        self._variables = variables
        self._inside = False  # between two setns: in the container's network namespace
        self._bridge_is_ours = any(act.op.name == "link.add_bridge" for act in plan.ops.all)
        self._rules_written = False

    def write(self, act: PlannedOp) -> None:
        """Write one operation of the engine or the monitor."""
        arguments: Arguments = self._variables.mark(act.arguments)
        name = act.op.name
        if name == "iptables.save" or act.phase.startswith("runtime.seal"):
            return  # the rules are constants of the script; it has no interpreter to seal
        if name == "namespace.setns":
            self._inside = act.phase.endswith("__enter__")
        elif name == "iptables.restore" and not arguments.get("place"):
            self.lines.why(act)
            self._restore(arguments["rules"])
        elif act.phase.endswith("adopt_caller") and name == "cgroup.write_file":
            return  # the script stays in its caller's cgroup
        elif name in NO_TWIN:
            self.lines.missing(act)
        else:
            self.lines.why(act)
            self.lines.write(*self._twin(act, arguments))

    def _twin(self, act: PlannedOp, arguments: Arguments) -> list[str]:
        """The commands of an operation, with its undo."""
        twin = command(act.op.twin(**arguments))
        written = {
            "cgroup.create_directory": self._make_cgroup,
            "cgroup.write_file": self._write_file,
            "systemd.start_delegated_unit": self._start_unit,
            "overlay.mount_overlay": self._mount_overlay,
            "loop.mount_disk_file": self._mount_disk,
            "mount.mount_filesystem": self._mount_shared_memory,
            "link.add_bridge": self._add_bridge,
            "link.add_veth": self._add_veth,
            "sysctl.write": self._write_setting,
            "conntrack.forget_udp": self._forget_udp,
        }.get(act.op.name)
        return written(twin, arguments) if written else [twin]

    def _make_cgroup(self, twin: str, arguments: Arguments) -> list[str]:
        return [f"make_cgroup {word(arguments['path'])}"]

    def _write_file(self, twin: str, arguments: Arguments) -> list[str]:
        if arguments["value"] == mark_of("MAIN_PROCESS"):
            return [f"move_processes {word(arguments['path'].rpartition('/init/')[0])}"]
        return [twin]

    def _start_unit(self, twin: str, arguments: Arguments) -> list[str]:
        unit, within = arguments["name"], systemd.slice_path(arguments["slice_name"])
        return [f"undo stop_unit {unit} {cgroup.ROOT}/{within}/{unit}", twin]

    def _mount_overlay(self, twin: str, arguments: Arguments) -> list[str]:
        made = " ".join(
            word(path)
            for path in (arguments["upperdir"], arguments["workdir"], arguments["target"])
        )
        return [f"mkdir -p {made}", 'undo unmount "$ROOTFS"', twin, *self._volumes()]

    def _mount_disk(self, twin: str, arguments: Arguments) -> list[str]:
        return [
            'mkdir "$BOX/space"',
            f'truncate -s {own_layer.size_of(self._plan.container.host_config)} "$BOX/disk"',
            'mkfs.ext4 -q -F -m 0 -E nodiscard "$BOX/disk"',
            'undo unmount "$BOX/space"',
            twin,
        ]

    def _mount_shared_memory(self, twin: str, arguments: Arguments) -> list[str]:
        return ['mkdir "$BOX/shm"', 'undo unmount "$BOX/shm"', twin]

    def _add_bridge(self, twin: str, arguments: Arguments) -> list[str]:
        said = "the bridge $BRIDGE exists by now: generate this script again"
        return [f'! bridge_exists || stop "{said}"', "undo remove_network", twin]

    def _add_veth(self, twin: str, arguments: Arguments) -> list[str]:
        said = "the bridge $BRIDGE is gone by now: generate this script again"
        return [f'bridge_exists || stop "{said}"', "undo remove_veth", twin]

    def _write_setting(self, twin: str, arguments: Arguments) -> list[str]:
        path, value = word(f"/proc/sys/{arguments['name']}"), word(arguments["value"])
        if self._inside:
            enter = 'nsenter "--net=/proc/$PID/ns/net"'
            return [f"echo {value} | {enter} tee {path} >/dev/null"]
        if self._bridge_is_ours:  # removed with the bridge
            return [f"echo {value} > {path}"]
        if arguments["name"].endswith("/route_localnet"):
            return ["undo close_localnet", f"echo {value} > {path}"]
        if "/conf/" in arguments["name"]:  # removed with its device
            return [f"echo {value} > {path}"]
        return [f"set_setting {path} {value}"]

    def _forget_udp(self, twin: str, arguments: Arguments) -> list[str]:
        return [f"if command -v conntrack >/dev/null; then {twin} 2>/dev/null || :; fi"]

    def _volumes(self) -> list[str]:
        """An empty volume gets a copy of the image's files at its mount point."""
        found = []
        for point in self._plan.container.document["Mounts"]:
            if point["Type"] == "volume":
                place = word(self._variables.mark(point["Source"]))
                kept = point.get("NoCopy") or "nocopy" in (point["Mode"] or "").split(",")
                image = Layers(self._plan.layers).resolve(in_container(point["Destination"]))
                found.append(
                    f"mkdir -p {place}" if kept else f'fill_volume {place} "$ROOTFS"{word(image)}'
                )
        return found

    def _restore(self, rules: str) -> None:
        """Write rules: all at once for a new bridge, only the missing ones for an existing one."""
        if rules.startswith("*filter\n:FORWARD"):
            if not self._bridge_is_ours:
                self.lines.write("undo iptables --wait 10 -P FORWARD ACCEPT")
            self.lines.write("iptables --wait 10 -P FORWARD DROP")
        elif self._bridge_is_ours:
            restore = "iptables-restore --wait 10 --noflush @"
            self.lines.write(here_document(restore, self._after_user_chains(rules), "RULES"))
        elif not self._rules_written:
            self._rules_written = True
            for table, chain, rule in self._missing_rules():
                marked = command(f"{chain} {self._variables.mark(rule)}")
                self.lines.write(f"add_rule {table} {marked}")

    def _after_user_chains(self, rules: str) -> str:
        """Let the script count the jumps to administrators' chains: other bridges come and go."""
        position = re.compile(r"(?m)^-I FORWARD ([2-9]|[1-9][0-9]+) ")
        if not position.search(rules):
            return rules
        offset = 2 if "\n-I FORWARD 1 " in rules else 1  # its own jump is inserted before
        count = "$(iptables --wait 10 -S FORWARD | grep -c -e '-j MINIDOCK-.*-USER$' || :)"
        self.lines.write(f"AFTER_USERS=$(({count} + {offset}))")
        return position.sub(f"-I FORWARD {mark_of('AFTER_USERS')} ", rules)

    def _missing_rules(self) -> list[tuple[str, str, str]]:
        before = firewall.parse(self._plan.wiring.before)
        after = firewall.parse(self._plan.wiring.after)
        return [
            (table, chain, rule)
            for table, chains in after.items()
            for chain, rules in chains.items()
            for rule in rules
            if rule not in before.get(table, {}).get(chain, [])
            # The user chain belongs to the store of the bridge, and not to the script.
            and not firewall.is_user_chain(chain)
            and not firewall.jumps_to_user_chain(rule)
        ]

    def removal(self) -> str:
        """The lines that remove a new bridge's rules and restore sysctls."""
        if not self._bridge_is_ours:
            return "    :"
        ops = self._plan.ops.all
        device = next(a.arguments["name"] for a in ops if a.op.name == "link.add_bridge")
        marked: str = self._variables.mark(firewall.removal(self._plan.wiring.after, device))
        restore = "    iptables-restore --wait 10 --noflush 2>/dev/null @ || :"
        lines = [here_document(restore, marked, "RULES")]
        users = firewall.user_chain(self._plan.container.store)
        if f":{users} " not in self._plan.wiring.before:
            lines.append(f"    remove_user_chain {word(self._variables.mark(users))}")
        for act in ops:
            if act.op.name == "sysctl.write" and act.arguments["name"] == bridge.FORWARDING:
                lines.append(f"    echo 0 > /proc/sys/{bridge.FORWARDING}")
            if str(act.arguments.get("rules")).startswith("*filter\n:FORWARD"):
                lines.append("    iptables --wait 10 -P FORWARD ACCEPT")
        return "\n".join(lines)


def _check_options(plan: Plan) -> None:
    """Raise UsageError for options of `run` that a script does not support."""
    bridges = [act for act in plan.ops.all if act.op.name == "link.add_bridge"]
    if len(bridges) > 1 or len(plan.wiring.states) > 1:
        raise UsageError("a script supports one network at most", hint="leave the others out")
    if any(point.get("Subpath") for point in plan.container.document["Mounts"]):
        raise UsageError(
            "a script cannot resolve a volume-subpath inside its volume",
            hint="leave out volume-subpath",
        )
    if any(ns.get("path") for ns in plan.config["linux"]["namespaces"]):
        raise UsageError(
            "a script cannot join another container's namespaces",
            hint="leave out --network, --pid or --ipc container:…",
        )
    if any(act.op.name == "port.hold" and not act.arguments["host_port"] for act in plan.ops.all):
        raise UsageError("a script cannot let the kernel choose a port", hint="name it: -p 8090:80")


def check(plan: Plan) -> None:
    """Raise UsageError for a run that a script cannot express completely."""
    _check_options(plan)
    if plan.failure:
        raise UsageError(f"the run would fail: {plan.failure}", hint=plan.failure.hint)
    command = plan.ops.all[-1].arguments["path"]
    if isinstance(command, Slot) and not plan.image_is_unknown:
        raise UsageError(
            f"{plan.command[0]} may be in a mount, which is not searched",
            hint="give its path",
        )
    if plan.image_is_unknown:
        raise UsageError(
            "only root may read the image, and the script needs its layers",
            hint="sudo minidock script run …",
        )
