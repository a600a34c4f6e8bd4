"""The device nodes in /dev that programs expect: existence, numbers and permissions.

A monitor's streams are /dev/null, and so is the stdin of a container without one; `run` refuses any
other file there. The other nodes are for programs of this machine: containers get their own nodes,
created by number.

Sources: null(4), full(4), random(4), tty(4); mount(8) "nodev".
"""

from __future__ import annotations

from minidock.engine.doctor.finding import OK, PROBLEM, WARNING, Finding
from minidock.engine.doctor.host import TOPIC
from minidock.engine.doctor.machine import DEVICES, Machine
from minidock.engine.doctor.writable_paths import mount_of, remount_fix


def findings(machine: Machine) -> list[Finding]:
    """Return one finding about all nodes."""
    wrong: dict[str, str] = {}
    fixes = []
    for line in machine.tell("devices"):
        name, kind, device, mode, refused = (*line.split(" "), "", "", "", "")[:5]
        if seen := _wrong_device(name, kind, device, mode, refused):
            wrong[name] = seen
            fixes.append(_device_fix(machine, name, kind, device, refused))
    if not wrong:
        return [Finding(TOPIC, "devices", OK, f"present and usable: {' '.join(DEVICES)}")]
    seen = "; ".join(f"/dev/{name} {what}" for name, what in wrong.items())
    fix = "; ".join(dict.fromkeys(fixes))
    # Root may open nodes that others may not.
    if "null" in wrong and not wrong["null"].startswith("has mode"):
        return [Finding(TOPIC, "devices", PROBLEM, seen, fix, {"run": False})]
    return [Finding(TOPIC, "devices", WARNING, seen, fix)]


def _wrong_device(name: str, kind: str, device: str, mode: str, refused: str) -> str:
    """Describe what is wrong with a node of /dev; "" if nothing."""
    if not kind:
        return "is missing"
    if kind != "c" or device != DEVICES[name]:
        named = {"-": "a file", "d": "a directory", "c": f"the device {device}"}
        return f"is {named.get(kind, 'something else')}"
    if refused:
        return f"cannot be opened ({refused})"
    everybody_reads_and_writes = int(mode, 8) & 0o666 == 0o666
    return "" if everybody_reads_and_writes else f"has mode {mode}, not 666"


def _device_fix(machine: Machine, name: str, kind: str, device: str, refused: str) -> str:
    path, number = f"/dev/{name}", DEVICES[name]
    if mount_of(machine, path)[0] == path:
        return f"umount {path}"
    if (kind, device) != ("c", number):
        away = "rmdir" if kind == "d" else "rm -f"
        return f"{away} {path}; mknod -m 666 {path} c {number.replace(':', ' ')}"
    if refused:
        return remount_fix(machine, path, "dev")
    return f"chmod 666 {path}"
