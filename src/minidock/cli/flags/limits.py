"""Flags of `run` and `create` for resource limits: memory, CPUs, pids, block I/O.

They become HostConfig fields of Docker's ContainerCreate body. Values that Docker's daemon
refuses are refused here, with the daemon's messages.
Source: Docker Engine API 1.45, Resources; cgroups(7).
"""

from __future__ import annotations

import os

from minidock.cli.flags.ulimit import parse_ulimit
from minidock.cli.flags.units import nano_cpus, size_bytes, swap_bytes
from minidock.cli.frame.pflag import (
    INT,
    FlagType,
    in_section,
    parse_int,
    switch,
    unsupported,
    value,
    values,
)
from minidock.errors import UsageError
from minidock.numerals import atoi, is_decimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.cli.flags.flag_values import LimitFlags, SharedLimits
    from minidock.cli.frame.pflag import F
    from minidock.document_types.host_config import HostConfig, ThrottleDevice, WeightDevice

_MINIMUM_MEMORY = 6 << 20  # less is too little for init to report an error


class Unavailable(UsageError):
    """A well-formed limit that Docker's daemon refuses: `create` exits with 1."""

    exit_code = 1


def _uint16(text: str) -> int:
    try:
        number = parse_int(text, 64)
    except ValueError as error:
        raise ValueError(str(error).replace("ParseInt", "ParseUint")) from None
    if text[0] in "+-":
        raise ValueError(f'strconv.ParseUint: parsing "{text}": invalid syntax')
    if number >= 1 << 16:
        raise ValueError(f'strconv.ParseUint: parsing "{text}": value out of range')
    return number


def _of_device(text: str) -> tuple[str, str]:
    path, colon, setting = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, setting


def _device_weight(text: str) -> WeightDevice:
    path, weight = _of_device(text)
    if not is_decimal(weight) or not (weight == "0" or 10 <= int(weight) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(weight)}


def _device_bytes(text: str) -> ThrottleDevice:
    path, rate = _of_device(text)
    try:
        return {"Path": path, "Rate": size_bytes(rate)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is "
            "<device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional "
            "and can be kb, mb, or gb"
        ) from None


def _device_operations(text: str) -> ThrottleDevice:
    path, rate = _of_device(text)
    if not is_decimal(rate):
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(rate)}


_BYTES = FlagType("bytes", size_bytes)
_DEVICE_BYTES = FlagType("list", _device_bytes)
_DEVICE_OPERATIONS = FlagType("list", _device_operations)
_REALTIME = "real-time scheduling is not supported"

_SHARED = (
    value("-m", "--memory", type=_BYTES, default=0, help="Memory limit"),
    value("--memory-reservation", type=_BYTES, default=0, help="Memory soft limit"),
    value(
        "--memory-swap",
        type=FlagType("bytes", swap_bytes),
        default=0,
        help="Limit of memory plus swap; -1: unlimited swap",
    ),
    value("--cpus", type=FlagType("decimal", nano_cpus), default=0, help="Number of CPUs"),
    value(
        "-c",
        "--cpu-shares",
        type=INT,
        default=0,
        help="CPU weight relative to other containers",
    ),
    value(
        "--cpu-period",
        type=INT,
        default=0,
        help="CFS (Completely Fair Scheduler) period, in microseconds",
    ),
    value(
        "--cpu-quota",
        type=INT,
        default=0,
        help="CFS (Completely Fair Scheduler) quota per period, in microseconds",
    ),
    value("--cpuset-cpus", default="", help="CPUs that the container may run on (0-3, 0,1)"),
    value(
        "--cpuset-mems",
        default="",
        help="NUMA memory nodes that the container may use (0-3, 0,1)",
    ),
    value(
        "--blkio-weight",
        type=FlagType("uint16", _uint16),
        default=0,
        help="Block I/O weight, 10 to 1000; 0: not set",
    ),
    unsupported("--cpu-rt-period", because=_REALTIME, unless=("0",)),
    unsupported("--cpu-rt-runtime", because=_REALTIME, unless=("0",)),
    unsupported("--kernel-memory", because="Linux 5.16 removed this limit"),
)

limit_flags = in_section(
    "Resource limits",
    *_SHARED,
    value(
        "--memory-swappiness",
        type=INT,
        default=-1,
        help="Memory swappiness of the container (0 to 100)",
    ),
    switch("--oom-kill-disable", help="Disable OOM Killer"),
    value(
        "--oom-score-adj",
        type=INT,
        default=0,
        help="OOM score adjustment of the process (-1000 to 1000)",
    ),
    value("--pids-limit", type=INT, default=0, help="Maximum number of processes (-1: unlimited)"),
    values("--ulimit", type=FlagType("ulimit", parse_ulimit), help="Ulimit options"),
    value("--shm-size", type=_BYTES, default=0, help="Size of /dev/shm"),
    value("--cgroup-parent", default="", help="Parent cgroup of the container's cgroup"),
    values(
        "--blkio-weight-device",
        type=FlagType("list", _device_weight),
        help="Block I/O weight for one device (DEVICE:WEIGHT)",
    ),
    values(
        "--device-read-bps",
        type=_DEVICE_BYTES,
        help="Limit of bytes read per second (DEVICE:RATE)",
    ),
    values(
        "--device-read-iops",
        type=_DEVICE_OPERATIONS,
        help="Limit of read operations per second (DEVICE:RATE)",
    ),
    values(
        "--device-write-bps",
        type=_DEVICE_BYTES,
        help="Limit of bytes written per second (DEVICE:RATE)",
    ),
    values(
        "--device-write-iops",
        type=_DEVICE_OPERATIONS,
        help="Limit of write operations per second (DEVICE:RATE)",
    ),
    unsupported("--cpu-count", because="Windows only"),
    unsupported("--cpu-percent", because="Windows only"),
    unsupported("--io-maxbandwidth", because="Windows only"),
    unsupported("--io-maxiops", because="Windows only"),
)


def update_flags(function: F) -> F:
    """Declare the limits that `update` can change; the value is None if a flag is not given."""
    pids = value("--pids-limit", type=INT, help="Maximum number of processes (-1: unlimited)")
    declared = in_section("Resource limits", *_SHARED, pids)(function)
    declared.__dict__["flags"] = [flag.optional() for flag in declared.__dict__["flags"]]
    return declared


def limit_fields(flags: LimitFlags) -> HostConfig:
    """Return the limits as fields of HostConfig."""
    swappiness = flags["memory_swappiness"]
    if not -1 <= swappiness <= 100:
        raise UsageError(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    check_memory(flags)
    check_cpus(flags)
    if not -1000 <= flags["oom_score_adj"] <= 1000:
        raise Unavailable(
            f"Invalid value {flags['oom_score_adj']}, range for oom score adj is [-1000, 1000]"
        )
    check_weight(flags)
    by_name = {limit["Name"]: limit for limit in flags["ulimit"]}
    more: HostConfig = {
        "ShmSize": flags["shm_size"],
        "MemorySwappiness": swappiness,
        "OomKillDisable": flags["oom_kill_disable"],
        "OomScoreAdj": flags["oom_score_adj"],
        "PidsLimit": flags["pids_limit"],
        "CgroupParent": flags["cgroup_parent"],
        "BlkioWeightDevice": list(flags["blkio_weight_device"]),
        "BlkioDeviceReadBps": list(flags["device_read_bps"]),
        "BlkioDeviceReadIOps": list(flags["device_read_iops"]),
        "BlkioDeviceWriteBps": list(flags["device_write_bps"]),
        "BlkioDeviceWriteIOps": list(flags["device_write_iops"]),
        "Ulimits": [by_name[name] for name in sorted(by_name)],
    }
    return shared_fields(flags) | more


def shared_fields(flags: SharedLimits) -> HostConfig:
    """Return the limits that `update` can change, except PidsLimit, as fields of HostConfig."""
    return {
        "Memory": flags["memory"],
        "MemoryReservation": flags["memory_reservation"],
        "MemorySwap": flags["memory_swap"],
        "NanoCpus": flags["cpus"],
        "CpuShares": flags["cpu_shares"],
        "CpuPeriod": flags["cpu_period"],
        "CpuQuota": flags["cpu_quota"],
        "CpusetCpus": flags["cpuset_cpus"],
        "CpusetMems": flags["cpuset_mems"],
        "BlkioWeight": flags["blkio_weight"],
    }


def check_weight(flags: SharedLimits) -> None:
    """Refuse a block I/O weight that the daemon refuses."""
    if flags["blkio_weight"] and not 10 <= flags["blkio_weight"] <= 1000:
        raise Unavailable("Range of blkio weight is from 10 to 1000")


def check_memory(flags: SharedLimits, *, updates: bool = False) -> None:
    """Refuse memory limits that the daemon refuses. updates: limits may be set already."""
    memory, swap = flags["memory"], flags["memory_swap"]
    reservation = flags["memory_reservation"]
    if 0 < memory < _MINIMUM_MEMORY:
        raise Unavailable("Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise Unavailable("Minimum memoryswap limit should be larger than memory limit, see usage")
    if memory == 0 and swap > 0 and not updates:
        raise Unavailable(
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        )
    if 0 < reservation < _MINIMUM_MEMORY:
        raise Unavailable("Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise Unavailable(
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        )


def check_cpus(flags: SharedLimits) -> None:
    """Refuse CPU limits that the daemon refuses."""
    available = os.cpu_count() or 1
    period, quota = flags["cpu_period"], flags["cpu_quota"]
    if flags["cpus"] and (period or quota):
        other = "Period" if period else "Quota"
        raise Unavailable(f"Conflicting options: Nano CPUs and CPU {other} cannot both be set")
    if not 0 <= flags["cpus"] <= available * 10**9:
        raise Unavailable(
            f"Range of CPUs is from 0.01 to {available}.00, "
            f"as there are only {available} CPUs available"
        )
    if period and not 1000 <= period <= 1000000:
        raise Unavailable(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)"
        )
    if 0 < quota < 1000:
        raise Unavailable("CPU cfs quota can not be less than 1ms (i.e. 1000)")
    _check_set("cpus", "CPUs", flags["cpuset_cpus"], "/sys/devices/system/cpu/online")
    _check_set("mems", "memory nodes", flags["cpuset_mems"], "/sys/devices/system/node/online")


def _check_set(kind: str, things: str, wanted: str, online_path: str) -> None:
    """Refuse CPUs or memory nodes that this machine does not have (cpuset(7), "List format")."""
    if not wanted:
        return
    try:
        numbers = _members(wanted)
    except ValueError:
        raise Unavailable(
            f"Invalid value {wanted} for cpuset {kind}: invalid format: {wanted}"
        ) from None
    try:
        with open(online_path) as file:
            online = file.read().strip()
    except FileNotFoundError:  # a kernel without NUMA has one memory node, and no list of them
        online = "0"
    if not numbers <= _members(online):
        raise Unavailable(
            f"Requested {things} are not available - requested {wanted}, available: {online}"
        )


_MOST_CPUS = 8192  # the maximum of CONFIG_NR_CPUS


def _members(text: str) -> set[int]:
    """The numbers of a list such as "0-2,7"."""
    members: set[int] = set()
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        start, end = atoi(first), atoi(last or first)
        if not 0 <= start <= end <= _MOST_CPUS:
            raise ValueError(piece)
        members.update(range(start, end + 1))
    return members
