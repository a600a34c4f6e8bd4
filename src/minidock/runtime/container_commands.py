"""The commands of `minidock-runtime` that inspect, signal, change or delete containers.

Each gets the parsed command line and the log, and returns an exit code; texts and codes are runc's.
The commands that create a process are in runtime/create_commands.py.

Source: runc(8) and its subcommands' pages.
"""

from __future__ import annotations

import os
import sys

from minidock import jsontext
from minidock.errors import Conflict, MinidockError, NotFound, UsageError
from minidock.numerals import is_decimal
from minidock.runtime import lifecycle, state
from minidock.runtime.arguments import Call
from minidock.runtime.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from minidock.document_types.runtime_spec import Resources


def start(call: Call, log: Log) -> int:
    """Start the command of a created container."""
    lifecycle.start(state.load(call.options["root"], call.id))
    return 0


def show_state(call: Call, log: Log) -> int:
    """Print the OCI state as JSON."""
    _print_json(state.load(call.options["root"], call.id).document())
    return 0


def list_all(call: Call, log: Log) -> int:
    """List the containers of this root."""
    containers = state.list_states(call.options["root"])
    if call.flags["quiet"]:
        print("".join(f"{container.id}\n" for container in containers), end="")
        return 0
    rows = []
    for container in containers:
        rows.append({**container.document(), "owner": _owner(container.directory)})
    if _format(call) == "json":
        print(jsontext.dumps(rows or None))
        return 0
    columns = ("id", "pid", "status", "bundle", "created", "owner")
    table = [[name.upper() for name in columns]]
    table += [[str(row[name]) for name in columns] for row in rows]
    widths = [max(12, 3 + max(len(line[i]) for line in table)) for i in range(len(columns) - 1)]
    for line in table:
        cells = [text.ljust(width) for text, width in zip(line, widths, strict=False)]
        print("".join(cells) + line[-1])
    return 0


def kill(call: Call, log: Log) -> int:
    """Send a signal to the container's first process, or to all of them."""
    number = signal_number(call.arguments[1] if len(call.arguments) > 1 else "SIGTERM")
    known = state.load(call.options["root"], call.id)
    if call.flags["all"]:
        lifecycle.kill_all(known, number)
    else:
        lifecycle.kill(known, number)
    return 0


def delete(call: Call, log: Log) -> int:
    """Delete a container; with --force, also a running one, and a missing one is not an error."""
    force = call.flags["force"]
    try:
        lifecycle.delete(call.options["root"], call.id, force=force, warn=log.warning)
    except NotFound:
        if not force:
            raise
    return 0


def pause(call: Call, log: Log) -> int:
    """Freeze every process of a container."""
    known = state.load(call.options["root"], call.id)
    if known.status not in ("running", "created"):
        raise Conflict("container not running", hint=f"it is {known.status}")
    known.cgroup.freeze()
    return 0


def resume(call: Call, log: Log) -> int:
    """Resume a paused container."""
    known = state.load(call.options["root"], call.id)
    if not known.cgroup.frozen():
        raise Conflict("container not paused", hint=f"it is {known.status}")
    known.cgroup.thaw()
    return 0


def ps(call: Call, log: Log) -> int:
    """List the container's processes: their pids as JSON, or their lines of ps(1)."""
    import subprocess

    pids = state.load(call.options["root"], call.id).cgroup.pids()
    if _format(call) == "json":
        print(jsontext.dumps(pids))
        return 0
    done = subprocess.run(
        ["ps", *(call.arguments[1:] or ["-ef"])], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise MinidockError(f"ps: exit code {done.returncode}")
    title, *lines = done.stdout.splitlines()
    if "PID" not in title.split():
        raise MinidockError("couldn't find PID field in ps output", hint="ask ps for its pid")
    column = title.split().index("PID")
    print(title)
    for line in lines:
        if int(line.split()[column]) in pids:
            print(line)
    return 0


def spec(call: Call, log: Log) -> int:
    """Write a template of config.json."""
    from minidock.kernel.cgroup import is_v2
    from minidock.runtime.default_spec import template

    path = os.path.join(call.flags["bundle"], "config.json")
    try:
        with open(path, "x", encoding="utf-8", opener=_for_owner) as file:
            file.write(_pretty(template(with_cgroup_namespace=is_v2())))
    except FileExistsError:
        raise Conflict("File config.json exists. Remove it first") from None
    return 0


def update(call: Call, log: Log) -> int:
    """Change the limits of a container."""
    known = state.load(call.options["root"], call.id)
    if call.flags["resources"]:
        resources = _read_resources(call.flags["resources"])
    else:
        resources = _resources_of_flags(call.flags)
    if known.status == "stopped":
        raise Conflict("container not running")
    known.cgroup.apply(resources)
    return 0


def _read_resources(path: str) -> Resources:
    if path == "-":
        text = sys.stdin.read()
    else:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    try:
        resources: Resources = jsontext.loads(text)
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    if not isinstance(resources, dict):
        raise UsageError(f"{path}: not a JSON object")
    return resources


def _resources_of_flags(flags: dict[str, Any]) -> Resources:
    paths = {
        "blkio_weight": ("blockIO", "weight"), "cpu_period": ("cpu", "period"),
        "cpu_quota": ("cpu", "quota"), "cpu_burst": ("cpu", "burst"),
        "cpu_share": ("cpu", "shares"), "cpu_rt_period": ("cpu", "realtimePeriod"),
        "cpu_rt_runtime": ("cpu", "realtimeRuntime"), "cpuset_cpus": ("cpu", "cpus"),
        "cpuset_mems": ("cpu", "mems"), "memory": ("memory", "limit"),
        "memory_reservation": ("memory", "reservation"), "memory_swap": ("memory", "swap"),
        "pids_limit": ("pids", "limit"),
    }  # fmt: skip
    fields: Any = {}  # those of Resources, by the names above
    for key, (group, name) in paths.items():
        if flags[key] is not None:
            fields.setdefault(group, {})[name] = flags[key]
    resources: Resources = fields
    return resources


def signal_number(word: str) -> int:
    """A signal's number by its name, with or without SIG, in any case, or by its number.

    Raises UsageError.
    """
    import signal

    if is_decimal(word):
        return int(word)
    name = word.upper()
    found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(found, signal.Signals):
        raise UsageError(f'unknown signal "{word}"')
    return int(found)


def _format(call: Call) -> str:
    form: str = call.flags["format"]
    if form not in ("table", "json"):
        raise UsageError("invalid format option", hint="supported formats: table, json")
    return form


def _owner(directory: str) -> str:
    import pwd  # on the host, the name service is not an image's

    uid = os.stat(directory).st_uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def _for_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o666)


def _pretty(value: object) -> str:
    import json  # for its indentation; costs these commands a few ms

    return json.dumps(value, indent="\t", ensure_ascii=False)


def _print_json(value: object) -> None:
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False), end="")


HANDLERS = {
    "start": start, "state": show_state, "list": list_all, "kill": kill, "delete": delete,
    "pause": pause, "resume": resume, "ps": ps, "spec": spec, "update": update,
}  # fmt: skip
