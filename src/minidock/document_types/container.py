"""container.json, in the form of `docker inspect`, and the body of ContainerCreate.

Fields have Docker's names and meanings; those of minidock's own are marked so.

Source: Docker Engine API 1.45, ContainerCreate and ContainerInspect.
"""

from typing import Literal, NotRequired, TypedDict

from minidock.document_types.host_config import HostConfig, VolumeDriver
from minidock.document_types.network import Endpoint, EndpointRequest, PortMap


class Healthcheck(TypedDict, total=False):
    """How to test that a container works. Durations are in nanoseconds; 0: the default.

    Test: ["NONE"], ["CMD", argument, ...] or ["CMD-SHELL", command]. StartPeriod: failures in it do
    not count. StartInterval: between tests in it. Retries: failures until it is "unhealthy".
    """

    Test: list[str]
    Interval: int
    Timeout: int
    StartPeriod: int
    StartInterval: int
    Retries: int


class ContainerConfig(TypedDict, total=False):
    """What to run: Docker's Config of a container, and OCI's "config" of an image.

    In an image each field may be missing or null, texts too: read them as `get(field) or ""`.
    """

    Hostname: str
    Domainname: str
    User: str  # "name", "uid", "name:group" or "uid:gid"; "": root
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    ExposedPorts: dict[str, dict[str, object]] | None  # {"80/tcp": {}}
    Tty: bool
    OpenStdin: bool
    StdinOnce: bool
    Env: list[str] | None  # "NAME=value"; in a container, "NAME" alone unsets it
    Cmd: list[str] | None
    Healthcheck: Healthcheck | None
    ArgsEscaped: bool
    Image: str  # as the user gave it
    Volumes: dict[str, dict[str, object]] | None  # {"/data": {}}
    WorkingDir: str
    Entrypoint: list[str] | None
    NetworkDisabled: bool
    MacAddress: str
    OnBuild: list[str] | None  # instructions for builds from this image
    Labels: dict[str, str] | None
    StopSignal: str  # "SIGTERM", "15"
    StopTimeout: int | None  # seconds
    Shell: list[str] | None  # for instructions in shell form


class NetworkingConfig(TypedDict, total=False):
    """The requested endpoints, by network."""

    EndpointsConfig: dict[str, EndpointRequest] | None


class CreateBody(ContainerConfig, total=False):
    """The body of ContainerCreate: a container's config, with what concerns the host."""

    HostConfig: HostConfig
    NetworkingConfig: NetworkingConfig | None


class HealthResult(TypedDict):
    """One health test. Start, End: RFC 3339. ExitCode: 0 healthy, -1 timed out."""

    Start: str
    End: str
    ExitCode: int
    Output: str


class HealthStatus(TypedDict):
    """Status: "starting", "healthy" or "unhealthy". FailingStreak: failures since a success."""

    Status: str
    FailingStreak: int


class HealthState(HealthStatus):
    """Log: the last five results."""

    Log: list[HealthResult]


class ContainerState(TypedDict):
    """Status: "created", "running", "paused", "restarting", "removing", "exited" or "dead".

    Pid: of init in the host's PID namespace, 0 if there is none. Error: why it did not start.
    StartedAt, FinishedAt: RFC 3339; year 1 for never.
    """

    Status: str
    Running: bool  # also while paused or restarting
    Paused: bool
    Restarting: bool
    OOMKilled: bool
    Dead: NotRequired[bool]
    Pid: int
    ExitCode: int
    Error: str
    StartedAt: str
    FinishedAt: str
    Health: NotRequired[HealthState]


class MountPoint(TypedDict):
    """A mount besides the rootfs.

    Mode: the options of -v as given. RW: whether it is writable. Below Propagation, fields of
    minidock's own, which `inspect` does not show: what the first or each start needs to know.
    """

    Type: Literal["bind", "volume", "tmpfs"]
    Name: NotRequired[str]  # of a volume; "" for an anonymous one that is not made yet
    Source: str  # a path on the host; "" for a tmpfs
    Destination: str
    Driver: NotRequired[str]
    Mode: str
    RW: bool
    Propagation: str
    CreateSource: NotRequired[bool]  # make a missing bind source
    NonRecursive: NotRequired[bool]
    ReadOnlyNonRecursive: NotRequired[bool]
    NoCopy: NotRequired[bool]  # the volume does not take over files of the image
    Labels: NotRequired[dict[str, str]]  # of a volume that is not made yet
    AskedDriver: NotRequired[VolumeDriver]  # of a volume that is not made yet
    Subpath: NotRequired[str]  # in the volume
    SubpathAt: NotRequired[str]  # where this is bound for the container
    Size: NotRequired[int]  # of a tmpfs, in bytes; 0: unlimited
    Permissions: NotRequired[int]  # of a tmpfs, its mode


class NetworkSettings(TypedDict):
    """The container's endpoints by network; the fields beside them repeat that of "bridge"."""

    Bridge: str
    SandboxID: str
    SandboxKey: str  # the path of its network namespace
    Ports: PortMap | None
    HairpinMode: bool
    LinkLocalIPv6Address: str
    LinkLocalIPv6PrefixLen: int
    SecondaryIPAddresses: None
    SecondaryIPv6Addresses: None
    EndpointID: str
    Gateway: str
    GlobalIPv6Address: str
    GlobalIPv6PrefixLen: int
    IPAddress: str
    IPPrefixLen: int
    IPv6Gateway: str
    MacAddress: str
    Networks: dict[str, Endpoint]


class OverlayDirectories(TypedDict):
    """The directories of the overlay file system. LowerDir: the top layer first, joined by ":"."""

    LowerDir: str
    UpperDir: str
    WorkDir: str
    MergedDir: str


class GraphDriver(TypedDict):
    Name: str
    Data: OverlayDirectories


class BuildDirectories(TypedDict):
    """Directories of a RUN step's container. Lowers: the lowest layer first. Home: in staging/."""

    Lowers: list[str]
    Upper: str
    Work: str
    Home: str


class ContainerDocument(TypedDict):
    """The content of container.json. Times are RFC 3339."""

    Id: str  # 64 hex digits
    Created: str
    Path: str  # the command
    Args: list[str]  # its arguments
    State: ContainerState
    Image: str  # the image's ID
    ResolvConfPath: str
    HostnamePath: str
    HostsPath: str
    LogPath: str
    Name: str  # begins with "/"
    RestartCount: int
    Driver: str
    Platform: str
    MountLabel: str
    ProcessLabel: str
    AppArmorProfile: str
    ExecIDs: list[str] | None
    HostConfig: HostConfig
    GraphDriver: GraphDriver
    Mounts: list[MountPoint]
    Config: ContainerConfig
    NetworkSettings: NetworkSettings
    SizeRw: NotRequired[int]  # bytes, with inspect --size
    SizeRootFs: NotRequired[int]
    Build: NotRequired[BuildDirectories]  # minidock's own: a RUN step, not a user's container


class PublishedPort(TypedDict):
    """A port in a ContainerSummary. IP, PublicPort: if it is published."""

    PrivatePort: int
    Type: str  # "tcp" or "udp"
    IP: NotRequired[str]
    PublicPort: NotRequired[int]


class SummaryHostConfig(TypedDict, total=False):
    NetworkMode: str


class SummaryNetworks(TypedDict):
    Networks: dict[str, Endpoint]


class ContainerSummary(TypedDict):
    """An entry of ContainerList. Created: since 1970, in seconds. Status: "Up 2 minutes"."""

    Id: str
    Names: list[str]
    Image: str
    ImageID: str
    Command: str
    Created: int
    Ports: list[PublishedPort]
    Labels: dict[str, str]
    State: str
    Status: str
    HostConfig: SummaryHostConfig
    NetworkSettings: SummaryNetworks
    Mounts: list[MountPoint]
    SizeRw: NotRequired[int]  # bytes
    SizeRootFs: NotRequired[int]


class ExecConfig(TypedDict, total=False):
    """Docker's ExecCreate: one more process in a running container."""

    Cmd: list[str]
    Env: list[str] | None
    User: str
    WorkingDir: str
    Tty: bool
    Privileged: bool
    AttachStdin: bool
    AttachStdout: bool
    AttachStderr: bool
    DetachKeys: str
