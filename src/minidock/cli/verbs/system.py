"""`version`, `info` and `system …`: the version of minidock, and information about this machine.

Source: Docker Engine API 1.45, SystemVersion and SystemInfo: --format uses their names.
"""

from __future__ import annotations

import os
import platform

from minidock.cli.frame.command import command
from minidock.cli.frame.error_output import FIELDS_HINT, FormatError
from minidock.cli.frame.lazy import Group
from minidock.cli.frame.pflag import value
from minidock.cli.frame.version import API_VERSION, VERSION
from minidock.cli.output.go_types import typed
from minidock.cli.output.human import binary_size
from minidock.cli.output.inspect_output import parsed_template
from minidock.cli.output.template.values import TemplateError
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from minidock.cli.frame.lazy import Table
    from minidock.document_types.system import SystemInfo

_COMMANDS: Table = {
    "check": ("Commands", "system_check:check", "List leftovers and damaged files"),
    "doctor": ("Commands", "doctor:doctor", "Check whether this machine can run containers"),
    "down": ("Commands", "bulk:down", "Remove the kernel resources that outlive containers"),
    "df": ("Commands", "system_df:df", "Show minidock disk usage"),
    "events": ("Commands", "events:events", "Print the events of the store as they happen"),
    "info": ("Commands", "system:info", "Show information about this machine and the store"),
    "prune": ("Commands", "system_prune:prune", "Remove unused data"),
    "start-all": (
        "Commands",
        "bulk:start_all",
        "Start containers according to their restart policies",
    ),
    "stop-all": ("Commands", "bulk:stop_all", "Stop all running containers"),
}


def _system(given: dict[str, object]) -> None:
    """Manage minidock"""


system = Group(_COMMANDS, _system)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def _print(format: str, kind: str, document: object) -> None:
    """Print a document by a template; "json" prints all of it."""
    template = parsed_template("{{json .}}" if format == "json" else format)
    try:
        print(template.render(typed(kind, document)))
    except TemplateError as error:
        print()  # as Docker's client does
        raise FormatError(str(error), hint=FIELDS_HINT) from None


@command(needs_root=False)
@value(
    "-f",
    "--format",
    default="",
    help="Format output: 'json' or a Go template",
)
def version(arguments: tuple[str, ...], *, format: str) -> None:
    """Show the versions of minidock and its platform"""
    machine = os.uname()
    architecture = _ARCHITECTURES.get(machine.machine, machine.machine)
    common = {
        "Version": VERSION,
        "ApiVersion": API_VERSION,
        "PythonVersion": platform.python_version(),
        "Os": "linux",
        "Arch": architecture,
    }
    server = {**common, "Platform": {"Name": "minidock"}, "KernelVersion": machine.release}
    if format:
        _print(format, "system.versionInfo", {"Client": common, "Server": server})
        return
    print("minidock: (no daemon: client and engine are one)")
    _fields(
        {
            "Version": VERSION,
            "API version": API_VERSION,
            "Python version": common["PythonVersion"],
            "Kernel version": machine.release,
            "OS/Arch": f"linux/{architecture}",
        },
        width=19,
    )


@command()
@value(
    "-f",
    "--format",
    default="",
    help="Format output: 'json' or a Go template",
)
def info(arguments: tuple[str, ...], *, format: str) -> None:
    """Show information about this machine and the store"""
    document = _information(Store())
    if format:
        _print(format, "system.dockerInfo", document)
        return
    print(f"minidock:\n Version:    {VERSION}\n\nEngine:")
    _fields(
        {
            "Containers": document["Containers"],
            " Running": document["ContainersRunning"],
            " Paused": document["ContainersPaused"],
            " Stopped": document["ContainersStopped"],
            "Images": document["Images"],
            "Storage Driver": document["Driver"],
            **{f" {name}": text for name, text in document["DriverStatus"]},
            "Logging Driver": document["LoggingDriver"],
            "Cgroup Driver": document["CgroupDriver"],
            "Cgroup Version": document["CgroupVersion"],
            "Default Runtime": document["DefaultRuntime"],
            "Security Options": ", ".join(document["SecurityOptions"]),
            "Kernel Version": document["KernelVersion"],
            "Operating System": document["OperatingSystem"],
            "OSType": document["OSType"],
            "Architecture": document["Architecture"],
            "CPUs": document["NCPU"],
            "Total Memory": binary_size(document["MemTotal"]),
            "Name": document["Name"],
            "Store": document["DockerRootDir"],
        }
    )
    for warning in document["Warnings"]:
        print(warning)


def _fields(fields: Mapping[str, object], *, width: int = 0) -> None:
    for name, text in fields.items():
        label = f"{name}:"
        print(f" {label:<{width}}{text}" if width else f" {label} {text}")


def _information(store: Store) -> SystemInfo:
    """Return SystemInfo of this machine and this store."""
    from minidock.cli.output.sizes import listed_images
    from minidock.engine.container.lookup import list_containers
    from minidock.kernel import cgroup, cgroup_tree

    states = [container.state["Status"] for container in list_containers(store)]
    machine = os.uname()
    system = platform.freedesktop_os_release()
    has_swap_limit = cgroup.supports_swap_limit()
    return {
        "Containers": len(states),
        "ContainersRunning": states.count("running"),
        "ContainersPaused": states.count("paused"),
        "ContainersStopped": len(states) - states.count("running") - states.count("paused"),
        "Images": len(listed_images(store)),
        "Driver": "overlay",
        "DriverStatus": [["Backing Filesystem", _filesystem_of(store.root)]],
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Log": ["json-file", "none"],
        },
        "MemoryLimit": True,
        "SwapLimit": has_swap_limit,
        "CpuCfsPeriod": True,
        "CpuCfsQuota": True,
        "CPUShares": True,
        "CPUSet": True,
        "PidsLimit": True,
        "IPv4Forwarding": _is_on("/proc/sys/net/ipv4/ip_forward"),
        "OomKillDisable": not cgroup.is_v2(),
        "LoggingDriver": "json-file",
        "CgroupDriver": "systemd" if cgroup_tree.takes_slices() else "cgroupfs",
        "CgroupVersion": "2" if cgroup.is_v2() else "1",
        "KernelVersion": machine.release,
        "OperatingSystem": system.get("PRETTY_NAME", ""),
        "OSVersion": system.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": machine.machine,
        "NCPU": os.cpu_count(),
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "DockerRootDir": store.root,
        "Name": machine.nodename,
        "ServerVersion": VERSION,
        "Runtimes": {"minidock": {"path": "minidock-runtime"}},
        "DefaultRuntime": "minidock",
        "SecurityOptions": ["name=seccomp,profile=builtin", *["name=cgroupns"][: cgroup.is_v2()]],
        "Warnings": [] if has_swap_limit else ["WARNING: No swap limit support"],
    }


def _filesystem_of(path: str) -> str:
    """Return the type of the file system of a path, from /proc/self/mountinfo (proc(5))."""
    from minidock.kernel.mountinfo import mount_table

    while not os.path.exists(path):
        path = os.path.dirname(path)
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mount_table("self"):
        mounted, _, described = line.partition(" - ")
        if mounted.split()[2] == wanted:
            return described.split()[0]
    return "unknown"


def _is_on(path: str) -> bool:
    with open(path, encoding="ascii") as file:
        return file.read().strip() == "1"
