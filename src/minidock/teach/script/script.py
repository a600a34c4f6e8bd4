"""script: compile a run into one POSIX sh file that creates the same container.

    plan (teach/plan)  ->  operations of engine and monitor  ->  engine()     host_side.py
                       ->  operations of init  ->  init(), isolate(), inside()     container_side.py
    both sides wait for each other on two FIFOs, "ready" and "start" (channel and start.fifo)

The script uses the image's layers where they are. Everything else is in a directory of its own, and
is removed when the command exits. Ops without a shell twin become comments: lines.py.

Source: POSIX, Shell Command Language; unshare(1), setpriv(1), mount(8), pivot_root(8), ip(8).
"""

from __future__ import annotations

import os
import re

from minidock.engine.container import network_files
from minidock.engine.network.hosts_file import hosts_file
from minidock.teach.plan.planned_ops import PID
from minidock.teach.script import host_side
from minidock.teach.script.container_side import ContainerSide, check, shell_variables
from minidock.teach.script.host_side import HostSide
from minidock.teach.script.lines import Lines
from minidock.teach.script.shell_quoting import Variables, bytes_used, comment, here_document, word

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.plan.plan import Plan

_TEMPLATE = os.path.join(os.path.dirname(__file__), "frame.sh")


def script(plan: Plan, command_line: str) -> str:
    """The text of the script. command_line: of the run, for its head.

    Raises UsageError for a run that a script cannot express completely.
    """
    host_side.check(plan)
    check(plan.config)
    constants, variables = _variables(plan)
    engine, inside = _sides(plan, variables)
    with open(_TEMPLATE, encoding="utf-8") as file:
        frame = file.read().partition("# ---\n")[2]
    parts = {
        "COMMAND_LINE": comment(command_line),
        "CONSTANTS": "\n".join(f"{name}={word(value)}" for name, value in constants.items()),
        "VOLUMES": "".join(
            f"VOLUME_{number}=$BOX/volumes/{number}\n"
            for number in range(1, len(_new_volumes(plan)) + 1)
        ),
        "FILES": str(_files(plan, variables)).rstrip(),
        "BEFORE": str(_of(engine, plan, before_init=True)).rstrip(),
        "AFTER": str(_of(engine, plan, before_init=False)).rstrip(),
        "UNSHARE": _unshare(plan),
        "REMOVE_RULES": engine.removal(),
        "INIT": str(inside.init).rstrip(),
        "ISOLATE": str(inside.isolate).rstrip(),
        "INSIDE": str(inside.inside).rstrip(),
        "CGROUPS": _cgroups(plan, variables),
        "ADDED": shell_variables(plan.config["process"]["env"]),
    }
    frame = _filled(frame, {"CONSTANTS": parts.pop("CONSTANTS") + "\n%BYTES%"})
    parts["BYTES"] = bytes_used(frame + "".join(parts.values()))
    return _filled(_without_unused(frame, parts), parts)


def _filled(frame: str, parts: dict[str, str]) -> str:
    """Insert the parts into the frame, once."""
    return re.sub(r"%([A-Z_]+)%", lambda match: parts.get(match[1], match[0]), frame)


def _without_unused(frame: str, parts: dict[str, str]) -> str:
    """Remove the helpers that the script does not use."""
    helpers = r"\n((?:# [^\n]*\n)*(\w+)\(\) \{\n(?:.*?\n)?\}\n)"
    inner = r"\n( +(\w+)\(\) \{[^\n]*\}(?=\n))"
    constants = r"\n(([A-Z_]+)=[^\n]*(?=\n))"
    for pattern in (helpers, inner, constants):
        for block, name in re.findall(pattern, frame, re.DOTALL):
            text = _filled(frame.replace(block, "", 1), parts)
            where = text.partition("\ninside() {")[2] if pattern is inner else text
            used = re.sub(r"(?m)^ *#.*", "", where)
            call = (
                rf"(?m)(^|[;&|(]|then|do|else)\s*{name}\s" if pattern is inner else rf"\b{name}\b"
            )
            if not re.search(call, used):
                frame = frame.replace(f"\n{block}", "", 1)
    return frame


def _sides(plan: Plan, variables: Variables) -> tuple[HostSide, ContainerSide]:
    inside = ContainerSide(plan, variables)
    for act in plan.ops.all:
        if act.actor == "init":
            inside.write(act)
    inside.end_of_init()
    return HostSide(plan, variables), inside


def _of(engine: HostSide, plan: Plan, *, before_init: bool) -> Lines:
    """The host's operations before or after clone3 of init."""
    at = next(n for n, a in enumerate(plan.ops.all) if a.op.name == "namespace.clone_process")
    engine.lines = Lines()
    ops = plan.ops.all[:at] if before_init else plan.ops.all[at + 1 :]
    for act in ops:
        if act.actor != "init":
            engine.write(act)
    return engine.lines


def _unshare(plan: Plan) -> str:
    """The twin of clone3, with init's new namespaces; init joins its cgroup itself."""
    act = next(a for a in plan.ops.all if a.op.name == "namespace.clone_process")
    twin = act.op.twin(**{**act.arguments, "cgroup_fd": None})
    return f'{twin.removesuffix(" sh +m")} setsid sh "$0" init'


def _variables(plan: Plan) -> tuple[dict[str, str], Variables]:
    """The constants of the script's head, and all variables for literals of this run."""
    container = plan.container
    constants, literals = {}, {}
    for number, layer in enumerate(reversed(plan.layers), start=1):
        constants[f"LAYER_{number}"] = layer
    for state in plan.wiring.states.values():
        constants["BRIDGE"] = state["Device"]
        constants["SUBNET"] = state["Subnet"]
        constants["GATEWAY"] = state["Gateway"]
        constants["ADDRESS"] = plan.addresses[0]
        constants["MAC"] = state["Leases"][container.id]["MacAddress"]
        literals[state["Leases"][container.id]["Cable"]] = "VETH"
    literals.update({value: name for name, value in constants.items()})
    literals.update(
        {
            container.paths.merged: "ROOTFS",
            container.paths.home: "BOX",
            container.id: "ID",
            container.id[:12]: "SHORT",
            str(PID): "PID",
        }
    )
    for number, source in enumerate(_new_volumes(plan), start=1):
        literals[source] = f"VOLUME_{number}"
    constants["STORE"] = container.store.root
    return constants, Variables(literals)


def _new_volumes(plan: Plan) -> list[str]:
    """The directories of volumes that do not exist in the store: the script creates its own."""
    points = plan.container.document["Mounts"]
    sources = [point["Source"] for point in points if point["Type"] == "volume"]
    return [source for source in dict.fromkeys(sources) if not os.path.isdir(source)]


def _files(plan: Plan, variables: Variables) -> Lines:
    """Write the files of the engine: hosts, hostname, resolv.conf; sources of bind mounts."""
    container, lines = plan.container, Lines()
    gateway = next((state["Gateway"] for state in plan.wiring.states.values()), "")
    hosts = hosts_file(
        network_files.fqdn(container),
        plan.addresses[0] if plan.addresses else "",
        container.host_config.get("ExtraHosts") or [],
        further=plan.addresses[1:],
        gateway=gateway,
        own_network=network_files.has_own_network(container),
    )
    resolv = network_files.resolv_conf_of(container, use_dns_server=False)
    for name, content in (
        ("hosts", hosts),
        ("hostname", container.config["Hostname"] + "\n"),
        ("resolv.conf", resolv),
    ):
        place, marked = f'"$BOX/{name}"', variables.mark(content)
        if content.endswith("\n"):
            lines.write(here_document(f"cat > {place} @", marked, "TEXT"))
        else:
            lines.write(f"printf %s {word(marked)} > {place}")
    for point in container.document["Mounts"]:
        place = word(variables.mark(point["Source"]))
        if point["Type"] == "bind" and point.get("CreateSource"):
            lines.write(f"make_source {place}")
    return lines


def _cgroups(plan: Plan, variables: Variables) -> str:
    """Lines that empty the container's cgroups."""
    made = [
        act.arguments["path"]
        for act in plan.ops.all
        if act.op.name == "cgroup.create_directory"
        and act.arguments["path"].endswith(plan.container.id)
    ]
    return "\n".join(f"    empty_cgroup {word(variables.mark(path))}" for path in made)
