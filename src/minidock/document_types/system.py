"""What a machine and its store are, in the form of `docker info`.

Source: Docker Engine API 1.45, SystemInfo.
"""

from typing import Literal, TypedDict


class Plugins(TypedDict):
    """Names of drivers."""

    Volume: list[str]
    Network: list[str]
    Log: list[str]


class RuntimeInfo(TypedDict):
    path: str


class SystemInfo(TypedDict):
    """The switches say which limits the kernel has."""

    Containers: int
    ContainersRunning: int
    ContainersPaused: int
    ContainersStopped: int
    Images: int
    Driver: str
    DriverStatus: list[list[str]]  # pairs of name and value
    Plugins: Plugins
    MemoryLimit: bool
    SwapLimit: bool
    CpuCfsPeriod: bool
    CpuCfsQuota: bool
    CPUShares: bool
    CPUSet: bool
    PidsLimit: bool
    IPv4Forwarding: bool
    OomKillDisable: bool
    LoggingDriver: str
    CgroupDriver: Literal["systemd", "cgroupfs"]
    CgroupVersion: Literal["1", "2"]
    KernelVersion: str
    OperatingSystem: str
    OSVersion: str
    OSType: str
    Architecture: str
    NCPU: int | None
    MemTotal: int  # bytes
    DockerRootDir: str
    Name: str
    ServerVersion: str
    Runtimes: dict[str, RuntimeInfo]
    DefaultRuntime: str
    SecurityOptions: list[str]
    Warnings: list[str]
