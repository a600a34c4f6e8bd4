"""Lines of a script, with the purpose of each operation above it.

# ── monitor · engine.monitor.launch.mount_layers: Mount the image's layers and …
# Lay the container's writable layer over the image's layers, and mount the sum.
mount -t overlay …
"""

from __future__ import annotations

from textwrap import wrap

from minidock.teach.page import WIDTH
from minidock.teach.plan.output import purpose_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.plan.planned_ops import PlannedOp

# Ops without an equivalent shell command, and the effect. docs/script.md lists them.
NO_TWIN = {
    "mount.clone_read_only": "a shell script runs no interpreter inside that needs a seal",
    "process.spawn": "this script is its container's monitor: no log, no attach, no restart policy",
    "process.set_not_dumpable": "no shell twin: prctl(PR_SET_DUMPABLE)",
    "port.hold": "no shell twin: binding a port without serving it; nor is [::1] relayed",
    "device_cgroup.load_program": (
        "no shell twin without a compiler for BPF: any device may be opened"
    ),
    "device_cgroup.attach_program": "no shell twin, as above",
    "seccomp.load": "no shell twin: the command may make every system call",
    "keyring.join_session_keyring": "no twin for this process: keyctl session starts another one",
    "streams.take_streams": "no twin: the command has this script's own streams",
    "node.make_fifo": "init waits on two pipes of this script",
    "process.close_all_but": "no twin: a shell closes its own descriptors one by one, below",
    "process.close_on_exec": "no twin: they are closed one by one, below",
    "process.give_stdio": "no twin: the caller's streams do not belong to this script",
    "terminal.open_terminal": "no twin: the command uses the caller's terminal, not one inside",
    "terminal.set_size": "no twin, as above",
    "terminal.take_terminal": "no twin, as above",
    "port.listen_for_names": "no twin for a DNS server: names of other containers do not resolve",
    "iptables.restore": "no twin for a DNS server: names of other containers do not resolve",
}


class Lines:
    """Lines of a function's body, with the purposes of operations as comments."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._phase = ""
        self._explained: set[str] = set()  # phases and ops explained already

    def __str__(self) -> str:
        return "\n".join(self._lines).strip("\n") + "\n"

    def write(self, *commands: str) -> None:
        """Add commands, indented."""
        for each in commands:
            quoted = False  # a here-document is not indented
            for line in each.split("\n"):
                self._lines.append(line if quoted or not line else f"    {line}")
                quoted = quoted or "<<" in line

    def comment(self, text: str) -> None:
        """Add a comment, wrapped."""
        self._lines += [f"    # {line}" for line in wrap(text, WIDTH - 6)]

    def why(self, act: PlannedOp) -> None:
        """Add the phase, if it is new, and the purpose of an operation the first time."""
        phase = act.phase.partition(".<locals>")[0]
        if phase != self._phase:
            self._lines.append("")
            purpose = "" if phase in self._explained else purpose_of(phase)
            self.comment(f"── {act.actor} · {phase}" + (f": {purpose}" if purpose else ""))
        if act.op.name not in self._explained:
            self.comment(f"{act.op.why} {act.op.man}")
        self._phase = phase
        self._explained |= {phase, act.op.name}

    def missing(self, act: PlannedOp) -> None:
        """Add a comment for an operation that a script cannot do."""
        if act.op.name not in self._explained:
            self.why(act)
            self.comment(f"  ({NO_TWIN[act.op.name]})")
