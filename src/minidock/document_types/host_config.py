"""HostConfig: what a container may use of the host, and how it is run.

In a ContainerCreate body each field may be missing or null; in container.json Docker's fields are
all there.

Source: Docker Engine API 1.45, HostConfig.
"""

from typing import Literal, TypedDict

from minidock.document_types.network import PortBinding

# The namespaces that can be the host's; of these, those that can be another container's too.
ModeField = Literal["NetworkMode", "PidMode", "IpcMode", "UTSMode", "CgroupnsMode"]
JoiningMode = Literal["NetworkMode", "PidMode", "IpcMode"]


class LogConfig(TypedDict, total=False):
    """Type: "json-file" or "none". Config: the driver's options, such as max-size."""

    Type: str
    Config: dict[str, str] | None


class RestartPolicy(TypedDict, total=False):
    """Name: "no", "always", "unless-stopped" or "on-failure"; "" is "no".

    MaximumRetryCount: of on-failure, 0: unlimited.
    """

    Name: str
    MaximumRetryCount: int


class DeviceMapping(TypedDict, total=False):
    """--device. CgroupPermissions: letters of "rwm" (read, write, mknod)."""

    PathOnHost: str
    PathInContainer: str
    CgroupPermissions: str


class Ulimit(TypedDict):
    """--ulimit. Name: as in setrlimit(2), without RLIMIT_, in lower case. -1: unlimited."""

    Name: str
    Soft: int
    Hard: int


class WeightDevice(TypedDict):
    """--blkio-weight-device. Weight: 10 to 1000."""

    Path: str
    Weight: int


class ThrottleDevice(TypedDict):
    """--device-read-bps and so on. Rate: bytes or operations per second."""

    Path: str
    Rate: int


ThrottleField = Literal[
    "BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"
]  # the fields of HostConfig that list throttled devices


class BindOptions(TypedDict, total=False):
    Propagation: str
    NonRecursive: bool
    CreateMountpoint: bool
    ReadOnlyNonRecursive: bool
    ReadOnlyForceRecursive: bool


class VolumeDriver(TypedDict, total=False):
    """A volume driver with its options."""

    Name: str
    Options: dict[str, str]


class VolumeOptions(TypedDict, total=False):
    """Labels, DriverConfig: of the volume, if it has to be created."""

    NoCopy: bool
    Labels: dict[str, str]
    DriverConfig: VolumeDriver
    Subpath: str


class TmpfsOptions(TypedDict, total=False):
    """SizeBytes: 0 is unlimited. Mode: the directory's permissions."""

    SizeBytes: int
    Mode: int


class MountRequest(TypedDict, total=False):
    """--mount. Type: "bind", "volume" or "tmpfs"."""

    Type: str
    Source: str
    Target: str
    ReadOnly: bool
    Consistency: str
    BindOptions: BindOptions | None
    VolumeOptions: VolumeOptions | None
    TmpfsOptions: TmpfsOptions | None


class SecurityOptions(TypedDict):
    """SecurityOpt, taken apart. seccomp: "unconfined", a profile as JSON, or None."""

    no_new_privileges: bool
    seccomp: str | None


class HostConfig(TypedDict, total=False):
    """Modes are "host", "private", "container:<id>" and others; "": the default."""

    Binds: list[str] | None  # -v: "/host:/in:ro", "name:/in"
    ContainerIDFile: str
    LogConfig: LogConfig | None
    NetworkMode: str  # "bridge", "host", "none", "container:<id>" or a network
    PortBindings: dict[str, list[PortBinding] | None] | None  # by "80/tcp"
    RestartPolicy: RestartPolicy | None
    AutoRemove: bool | None
    VolumeDriver: str
    VolumesFrom: list[str] | None  # "container[:ro]"
    ConsoleSize: list[int]  # [rows, columns]; [0, 0]: unknown
    Annotations: dict[str, str] | None
    CapAdd: list[str] | None
    CapDrop: list[str] | None
    CgroupnsMode: str
    Dns: list[str] | None
    DnsOptions: list[str] | None
    DnsSearch: list[str] | None
    ExtraHosts: list[str] | None  # "name:address"
    GroupAdd: list[str] | None
    IpcMode: str
    Cgroup: str
    Links: list[str] | None
    OomScoreAdj: int
    PidMode: str
    Privileged: bool
    PublishAllPorts: bool
    ReadonlyRootfs: bool
    SecurityOpt: list[str] | None
    StorageOpt: dict[str, str] | None  # {"size": "10G"}
    Tmpfs: dict[str, str] | None  # mount options by mount point
    UTSMode: str
    UsernsMode: str
    ShmSize: int  # bytes
    Sysctls: dict[str, str] | None
    Runtime: str
    Isolation: str
    CpuShares: int
    Memory: int  # bytes; 0: unlimited
    NanoCpus: int  # CPUs * 10**9
    CgroupParent: str
    BlkioWeight: int  # 10 to 1000; 0: the default
    BlkioWeightDevice: list[WeightDevice] | None
    BlkioDeviceReadBps: list[ThrottleDevice] | None
    BlkioDeviceWriteBps: list[ThrottleDevice] | None
    BlkioDeviceReadIOps: list[ThrottleDevice] | None
    BlkioDeviceWriteIOps: list[ThrottleDevice] | None
    CpuPeriod: int  # microseconds
    CpuQuota: int  # microseconds per period
    CpuRealtimePeriod: int
    CpuRealtimeRuntime: int
    CpusetCpus: str  # "0-2,4"
    CpusetMems: str
    Devices: list[DeviceMapping] | None
    DeviceCgroupRules: list[str] | None  # "c 1:3 mr"
    DeviceRequests: list[dict[str, object]] | None
    MemoryReservation: int  # bytes
    MemorySwap: int  # bytes of memory and swap together; -1: unlimited
    MemorySwappiness: int | None  # 0 to 100; -1: the host's
    OomKillDisable: bool | None
    PidsLimit: int | None
    Ulimits: list[Ulimit] | None
    CpuCount: int
    CpuPercent: int
    IOMaximumIOps: int
    IOMaximumBandwidth: int
    Mounts: list[MountRequest] | None
    MaskedPaths: list[str] | None
    ReadonlyPaths: list[str] | None
    Init: bool | None
