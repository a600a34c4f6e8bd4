"""The host's side of a script: what the engine and the monitor do, and how each act is undone.

An act becomes its twin. What was made is put on a stack by `undo`, as a command that unmakes it;
the script's end, however it comes, performs them from the last to the first.
"""

from __future__ import annotations

from minidock.engine.container import quota
from minidock.engine.container.validation import in_container
from minidock.engine.network import bridge, firewall
from minidock.errors import UsageError
from minidock.kernel import cgroup, systemd
from minidock.runtime.program import Slot
from minidock.teach.plan.rootfs import Layers
from minidock.teach.script.lines import NO_TWIN, Lines
from minidock.teach.script.shell_words import command, here_document, mark_of, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.teach.plan.plan import Plan
    from minidock.teach.plan.planned_ops import Act
    from minidock.teach.script.shell_words import Variables


class Host:
    """Writes the host's acts, one after the other. lines: what is written."""

    def __init__(self, plan: Plan, variables: Variables) -> None:
        self.lines = Lines()
        self._plan = plan
        self._variables = variables
        self._inside = False  # between two setns: in the container's network
        self._bridge_is_ours = any(act.op.name == "link.add_bridge" for act in plan.acts.all)
        self._rules_written = False

    def write(self, act: Act) -> None:
        """One act of the engine or the monitor, before or after init's."""
        arguments = self._variables.mark(act.arguments)
        name = act.op.name
        if name == "iptables.save" or act.phase.startswith("runtime.seal"):
            return  # a script knows its rules; it has no interpreter to seal
        if name == "namespace.setns":
            self._inside = act.phase.endswith("__enter__")
        elif name == "iptables.restore" and not arguments.get("place"):
            self.lines.why(act)
            self._restore(arguments["rules"])
        elif act.phase.endswith("adopt_caller") and name == "cgroup.write_file":
            return  # the script stays in its caller's cgroup: it is nobody's monitor
        elif name in NO_TWIN:
            self.lines.missing(act)
        else:
            self.lines.why(act)
            self.lines.write(*self._twin(act, arguments))

    def _twin(self, act: Act, arguments: dict[str, Any]) -> list[str]:
        """The commands that do an act, and have it undone."""
        twin = command(act.op.twin(**arguments))
        written = {
            "cgroup.create_directory": self._make_cgroup,
            "cgroup.write_file": self._write_file,
            "systemd.start_delegated_unit": self._start_unit,
            "overlay.mount_overlay": self._mount_overlay,
            "loop.mount_disk_file": self._mount_disk,
            "mount.mount_filesystem": self._mount_shared_memory,
            "link.add_bridge": self._add_bridge,
            "link.add_veth": self._add_cable,
            "sysctl.write": self._write_setting,
            "conntrack.forget_udp": self._forget_udp,
        }.get(act.op.name)
        return written(twin, arguments) if written else [twin]

    def _make_cgroup(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        return [f"make_cgroup {word(arguments['path'])}"]

    def _write_file(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        if arguments["value"] == mark_of("KEEPER"):
            return [f"move_processes {word(arguments['path'].rpartition('/init/')[0])}"]
        return [twin]

    def _start_unit(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        unit, within = arguments["name"], systemd.slice_path(arguments["slice_name"])
        return [f"undo stop_unit {unit} {cgroup.ROOT}/{within}/{unit}", twin]

    def _mount_overlay(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        made = " ".join(word(arguments[key]) for key in ("upperdir", "workdir", "target"))
        return [f"mkdir -p {made}", 'undo unmount "$ROOTFS"', twin, *self._volumes()]

    def _mount_disk(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        return [
            'mkdir "$BOX/space"',
            f'truncate -s {quota.size_of(self._plan.container.host_config)} "$BOX/disk"',
            'mkfs.ext4 -q -F -m 0 -E nodiscard "$BOX/disk"',
            'undo unmount "$BOX/space"',
            twin,
        ]

    def _mount_shared_memory(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        return ['mkdir "$BOX/shm"', 'undo unmount "$BOX/shm"', twin]

    def _add_bridge(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        said = "the bridge $BRIDGE is there by now: have this script written anew"
        return [f'! bridge_exists || stop "{said}"', "undo remove_network", twin]

    def _add_cable(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        said = "the bridge $BRIDGE is gone by now: have this script written anew"
        return [f'bridge_exists || stop "{said}"', "undo remove_cable", twin]

    def _write_setting(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        path, value = word(f"/proc/sys/{arguments['name']}"), word(arguments["value"])
        if self._inside:
            enter = 'nsenter "--net=/proc/$PID/ns/net"'
            return [f"echo {value} | {enter} tee {path} >/dev/null"]
        if self._bridge_is_ours:  # what is undone with it, or goes with it
            return [f"echo {value} > {path}"]
        if arguments["name"].endswith("/route_localnet"):
            return ["undo close_localnet", f"echo {value} > {path}"]
        if "/conf/" in arguments["name"]:  # what devices may not believe goes with them
            return [f"echo {value} > {path}"]
        return [f"set_setting {path} {value}"]

    def _forget_udp(self, twin: str, arguments: dict[str, Any]) -> list[str]:
        return [f"if command -v conntrack >/dev/null; then {twin} 2>/dev/null || :; fi"]

    def _volumes(self) -> list[str]:
        """A volume that is empty takes over what the image has at its place."""
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
        """Rules: all of a new bridge's at once; on one that is there, those that are missing."""
        if rules.startswith("*filter\n:FORWARD"):
            if not self._bridge_is_ours:
                self.lines.write("undo iptables --wait 10 -P FORWARD ACCEPT")
            self.lines.write("iptables --wait 10 -P FORWARD DROP")
        elif self._bridge_is_ours:
            restore = "iptables-restore --wait 10 --noflush @"
            self.lines.write(here_document(restore, rules, "RULES"))
        elif not self._rules_written:
            self._rules_written = True
            for table, chain, rule in self._missing_rules():
                marked = command(f"{chain} {self._variables.mark(rule)}")
                self.lines.write(f"add_rule {table} {marked}")

    def _missing_rules(self) -> list[tuple[str, str, str]]:
        before = firewall.parse(self._plan.wiring.before)
        after = firewall.parse(self._plan.wiring.after)
        return [
            (table, chain, rule)
            for table, chains in after.items()
            for chain, rules in chains.items()
            for rule in rules
            if rule not in before.get(table, {}).get(chain, [])
            # A chain that the bridge's own network has yet to make is no business of a script.
            and not firewall.is_user_chain(chain)
            and not firewall.jumps_to_user_chain(rule)
        ]

    def removal(self) -> str:
        """The lines that take a new bridge's rules away, and give the machine's settings back."""
        if not self._bridge_is_ours:
            return "    :"
        acts = self._plan.acts.all
        device = next(a.arguments["name"] for a in acts if a.op.name == "link.add_bridge")
        marked: str = self._variables.mark(firewall.removal(self._plan.wiring.after, device))
        restore = "    iptables-restore --wait 10 --noflush 2>/dev/null @ || :"
        lines = [here_document(restore, marked, "RULES")]
        users = firewall.user_chain(self._plan.container.store)
        if f":{users} " not in self._plan.wiring.before:
            lines.append(f"    remove_user_chain {word(self._variables.mark(users))}")
        for act in acts:
            if act.op.name == "sysctl.write" and act.arguments["name"] == bridge.FORWARDING:
                lines.append(f"    echo 0 > /proc/sys/{bridge.FORWARDING}")
            if str(act.arguments.get("rules")).startswith("*filter\n:FORWARD"):
                lines.append("    iptables --wait 10 -P FORWARD ACCEPT")
        return "\n".join(lines)


def check(plan: Plan) -> None:
    """Raise UsageError for a run that a script could only half say."""
    bridges = [act for act in plan.acts.all if act.op.name == "link.add_bridge"]
    if len(bridges) > 1 or len(plan.wiring.states) > 1:
        raise UsageError("a script has one network at most", hint="leave the others out")
    if any(point.get("Subpath") for point in plan.container.document["Mounts"]):
        raise UsageError(
            "a script cannot look for a path in a volume as if the volume were /",
            hint="leave out volume-subpath",
        )
    if any(ns.get("path") for ns in plan.config["linux"]["namespaces"]):
        raise UsageError(
            "a script joins no other container's namespaces",
            hint="leave out --network, --pid or --ipc container:…",
        )
    if any(act.op.name == "port.hold" and not act.arguments["host_port"] for act in plan.acts.all):
        raise UsageError("a script cannot let the kernel choose a port", hint="name it: -p 8090:80")
    if plan.failure:
        raise UsageError(f"the run would fail: {plan.failure}", hint=plan.failure.hint)
    command = plan.acts.all[-1].arguments["path"]
    if isinstance(command, Slot) and not plan.supposed:
        raise UsageError(
            f"{plan.command[0]} may be in what is mounted, where it is not looked for",
            hint="give its path",
        )
    if plan.supposed:
        raise UsageError(
            "the image is root's to read, and the script has to name its layers",
            hint="sudo minidock script run …",
        )
