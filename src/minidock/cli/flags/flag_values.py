"""The values of flags as a command gets them, by parameter; for type checkers only.

pflag.py parses them by the flags' declarations: a flag that may be repeated has a tuple.
"""

from typing import TypedDict

from minidock.document_types.host_config import (
    MountRequest,
    ThrottleDevice,
    Ulimit,
    WeightDevice,
)
from minidock.document_types.network import EndpointRequest


class SharedLimits(TypedDict):
    """Limits of `run`, `create` and `update`. Sizes are in bytes; 0: not set."""

    memory: int
    memory_reservation: int
    memory_swap: int  # -1: unlimited
    cpus: int  # CPUs * 10**9
    cpu_shares: int
    cpu_period: int
    cpu_quota: int
    cpuset_cpus: str
    cpuset_mems: str
    blkio_weight: int


class ChangedLimits(TypedDict):
    """Limits of `update`; None: not given."""

    memory: int | None
    memory_reservation: int | None
    memory_swap: int | None
    cpus: int | None
    cpu_shares: int | None
    cpu_period: int | None
    cpu_quota: int | None
    cpuset_cpus: str | None
    cpuset_mems: str | None
    blkio_weight: int | None
    pids_limit: int | None


class LimitFlags(SharedLimits):
    memory_swappiness: int  # -1: not set
    oom_kill_disable: bool
    oom_score_adj: int
    pids_limit: int
    ulimit: tuple[Ulimit, ...]
    shm_size: int
    cgroup_parent: str
    blkio_weight_device: tuple[WeightDevice, ...]
    device_read_bps: tuple[ThrottleDevice, ...]
    device_read_iops: tuple[ThrottleDevice, ...]
    device_write_bps: tuple[ThrottleDevice, ...]
    device_write_iops: tuple[ThrottleDevice, ...]


class StorageFlags(TypedDict):
    volume: tuple[str, ...]
    mount: tuple[MountRequest, ...]
    tmpfs: tuple[str, ...]
    volumes_from: tuple[str, ...]
    read_only: bool
    storage_opt: tuple[str, ...]


class NetworkFlags(TypedDict):
    network: tuple[tuple[str, EndpointRequest], ...]
    publish: tuple[str, ...]
    publish_all: bool
    expose: tuple[str, ...]
    add_host: tuple[str, ...]
    dns: tuple[str, ...]
    dns_option: tuple[str, ...]
    dns_search: tuple[str, ...]
    mac_address: str
    ip: str
    network_alias: tuple[str, ...]


class SecurityFlags(TypedDict):
    cap_add: tuple[str, ...]
    cap_drop: tuple[str, ...]
    privileged: bool
    security_opt: tuple[str, ...]
    device: tuple[str, ...]
    group_add: tuple[str, ...]
    pid: str
    ipc: str
    uts: str
    cgroupns: str
    sysctl: tuple[tuple[str, str], ...]
    device_cgroup_rule: tuple[str, ...]
    init: bool | None


class ProcessFlags(TypedDict):
    """Durations are in nanoseconds; 0: not set."""

    attach: tuple[str, ...]
    detach_keys: str | None
    entrypoint: str | None
    env: tuple[str, ...]
    env_file: tuple[str, ...]
    hostname: str
    domainname: str
    interactive: bool
    label: tuple[str, ...]
    label_file: tuple[str, ...]
    stop_signal: str
    stop_timeout: int | None
    tty: bool
    user: str
    workdir: str
    health_cmd: str
    health_interval: int
    health_retries: int
    health_start_interval: int
    health_start_period: int
    health_timeout: int
    no_healthcheck: bool


class RunFlags(LimitFlags, StorageFlags, NetworkFlags, SecurityFlags, ProcessFlags):
    """What `run` and `create` share."""

    name: str | None
    cidfile: str
    rm: bool
    pull: str
    quiet: bool
    platform: str
    log_driver: str
    restart: str
    annotation: tuple[tuple[str, str], ...]
    log_opt: tuple[str, ...]


class BuildFlags(TypedDict):
    add_host: tuple[str, ...]
    allow: tuple[str, ...]
    build_arg: tuple[str, ...]
    cgroup_parent: str
    file: str
    iidfile: str
    label: tuple[str, ...]
    network: str
    no_cache: bool
    no_cache_filter: tuple[str, ...]
    platform: str
    progress: str
    pull: bool
    quiet: bool
    secret: tuple[str, ...]
    shm_size: int
    tag: tuple[str, ...]
    target: str
    ulimit: tuple[Ulimit, ...]
    volume: tuple[str, ...]
