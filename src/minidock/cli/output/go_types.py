"""The Go types behind `inspect --format`: their fields, and the zero values of absent ones.

Docker's client decodes a response into Go structs before it runs a template. So `.ID` is a field
although the JSON has "Id", `.HostConfig.Binds` is a nil slice if the JSON has none, and
`{{.State}}` prints the values of the fields in order. The table was taken from what docker 26.1
prints with `{{printf "%#v" .}}` and `{{json .}}`; a test compares the two.

    Struct:  Field[/JSON name] type[?], ...     "?": omitted from JSON if empty (omitempty)
             + Struct                           its fields are this struct's too (embedding)
"""

from __future__ import annotations

from minidock.cli.output.template.values import Map, Nil, Number, Slice, Struct, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_TABLE = """
types.ContainerJSON: + *types.ContainerJSONBase, Mounts []types.MountPoint,
    Config *container.Config, NetworkSettings *types.NetworkSettings
types.ContainerJSONBase: ID/Id string, Created string, Path string, Args []string,
    State *types.ContainerState, Image string, ResolvConfPath string, HostnamePath string,
    HostsPath string, LogPath string, Node *types.ContainerNode?, Name string, RestartCount int,
    Driver string, Platform string, MountLabel string, ProcessLabel string, AppArmorProfile string,
    ExecIDs []string, HostConfig *container.HostConfig, GraphDriver types.GraphDriverData,
    SizeRw *int64?, SizeRootFs *int64?
types.ContainerNode:
types.ContainerState: Status string, Running bool, Paused bool, Restarting bool, OOMKilled bool,
    Dead bool, Pid int, ExitCode int, Error string, StartedAt string, FinishedAt string,
    Health *types.Health?
types.Health: Status string, FailingStreak int, Log []*types.HealthcheckResult
types.HealthcheckResult: Start string, End string, ExitCode int, Output string
types.MountPoint: Type string?, Name string?, Source string, Destination string, Driver string?,
    Mode string, RW bool, Propagation string
types.GraphDriverData: Data map[string]string, Name string
types.NetworkSettings: + types.NetworkSettingsBase, + types.DefaultNetworkSettings,
    Networks map[string]*network.EndpointSettings
types.NetworkSettingsBase: Bridge string, SandboxID string, SandboxKey string,
    Ports nat.PortMap, HairpinMode bool, LinkLocalIPv6Address string, LinkLocalIPv6PrefixLen int,
    SecondaryIPAddresses []any, SecondaryIPv6Addresses []any
types.DefaultNetworkSettings: EndpointID string, Gateway string, GlobalIPv6Address string,
    GlobalIPv6PrefixLen int, IPAddress string, IPPrefixLen int, IPv6Gateway string,
    MacAddress string
network.EndpointSettings: IPAMConfig *network.EndpointIPAMConfig, Links []string,
    Aliases []string, MacAddress string, NetworkID string, EndpointID string, Gateway string,
    IPAddress string, IPPrefixLen int, IPv6Gateway string, GlobalIPv6Address string,
    GlobalIPv6PrefixLen int, DriverOpts map[string]string, DNSNames []string
network.EndpointIPAMConfig: IPv4Address string?, IPv6Address string?, LinkLocalIPs []string?
nat.PortBinding: HostIP/HostIp string, HostPort string
formatter.diskUsageContext: Images []*formatter.imageContext,
    Containers []*formatter.ContainerContext, Volumes []*formatter.volumeContext,
    BuildCache []*formatter.buildCacheContext
formatter.imageContext: Containers string, CreatedAt string, CreatedSince string, Digest string,
    ID string, Repository string, SharedSize string, Size string, Tag string, UniqueSize string,
    VirtualSize string
formatter.ContainerContext: Command string, CreatedAt string, ID string, Image string,
    Labels string, LocalVolumes string, Mounts string, Names string, Networks string, Ports string,
    RunningFor string, Size string, State string, Status string
formatter.volumeContext: Availability string, Driver string, Group string, Labels string,
    Links string, Mountpoint string, Name string, Scope string, Size string, Status string
formatter.buildCacheContext: CacheType string, CreatedSince string, ID string, InUse string,
    LastUsedSince string, Shared string, Size string, UsageCount string
container.Config: Hostname string, Domainname string, User string, AttachStdin bool,
    AttachStdout bool, AttachStderr bool, ExposedPorts nat.PortSet?, Tty bool, OpenStdin bool,
    StdinOnce bool, Env []string, Cmd strslice.StrSlice, Healthcheck *v1.HealthcheckConfig?,
    ArgsEscaped bool?, Image string, Volumes map[string]struct {}, WorkingDir string,
    Entrypoint strslice.StrSlice, NetworkDisabled bool?, MacAddress string?, OnBuild []string,
    Labels map[string]string, StopSignal string?, StopTimeout *int?, Shell strslice.StrSlice?
v1.HealthcheckConfig: Test []string?, Interval int?, Timeout int?, StartPeriod int?,
    StartInterval int?, Retries int?
container.HostConfig: Binds []string, ContainerIDFile string, LogConfig container.LogConfig,
    NetworkMode string, PortBindings nat.PortMap, RestartPolicy container.RestartPolicy,
    AutoRemove bool, VolumeDriver string, VolumesFrom []string, ConsoleSize [2]uint,
    Annotations map[string]string?, CapAdd strslice.StrSlice, CapDrop strslice.StrSlice,
    CgroupnsMode string, DNS/Dns []string, DNSOptions/DnsOptions []string,
    DNSSearch/DnsSearch []string, ExtraHosts []string, GroupAdd []string, IpcMode string,
    Cgroup string, Links []string, OomScoreAdj int, PidMode string, Privileged bool,
    PublishAllPorts bool, ReadonlyRootfs bool, SecurityOpt []string, StorageOpt map[string]string?,
    Tmpfs map[string]string?, UTSMode string, UsernsMode string, ShmSize int64,
    Sysctls map[string]string?, Runtime string?, Isolation string, + container.Resources,
    Mounts []mount.Mount?, MaskedPaths []string, ReadonlyPaths []string, Init *bool?
container.LogConfig: Type string, Config map[string]string
container.RestartPolicy: Name string, MaximumRetryCount int
container.Resources: CPUShares/CpuShares int64, Memory int64, NanoCPUs/NanoCpus int64,
    CgroupParent string, BlkioWeight uint16, BlkioWeightDevice []any, BlkioDeviceReadBps []any,
    BlkioDeviceWriteBps []any, BlkioDeviceReadIOps []any, BlkioDeviceWriteIOps []any,
    CPUPeriod/CpuPeriod int64, CPUQuota/CpuQuota int64,
    CPURealtimePeriod/CpuRealtimePeriod int64, CPURealtimeRuntime/CpuRealtimeRuntime int64,
    CpusetCpus string, CpusetMems string, Devices []container.DeviceMapping,
    DeviceCgroupRules []string, DeviceRequests []any, KernelMemory int64?, KernelMemoryTCP int64?,
    MemoryReservation int64, MemorySwap int64, MemorySwappiness *int64, OomKillDisable *bool,
    PidsLimit *int64, Ulimits []*units.Ulimit, CPUCount/CpuCount int64,
    CPUPercent/CpuPercent int64, IOMaximumIOps uint64, IOMaximumBandwidth uint64
container.DeviceMapping: PathOnHost string, PathInContainer string, CgroupPermissions string
units.Ulimit: Name string, Hard int64, Soft int64
mount.Mount: Type string?, Source string?, Target string?, ReadOnly bool?, Consistency string?,
    BindOptions *mount.BindOptions?, VolumeOptions *mount.VolumeOptions?,
    TmpfsOptions *mount.TmpfsOptions?, ClusterOptions *mount.ClusterOptions?
mount.ClusterOptions:
mount.BindOptions: Propagation string?, NonRecursive bool?, CreateMountpoint bool?,
    ReadOnlyNonRecursive bool?, ReadOnlyForceRecursive bool?
mount.VolumeOptions: NoCopy bool?, Labels map[string]string?, Subpath string?,
    DriverConfig *mount.Driver?
mount.Driver: Name string?, Options map[string]string?
mount.TmpfsOptions: SizeBytes int64?, Mode uint32?
types.ImageInspect: ID/Id string, RepoTags []string, RepoDigests []string, Parent string,
    Comment string, Created string?, Container string?, ContainerConfig *container.Config?,
    DockerVersion string, Author string, Config *container.Config, Architecture string,
    Variant string?, Os string, OsVersion string?, Size int64, VirtualSize int64?,
    GraphDriver types.GraphDriverData, RootFS types.RootFS, Metadata image.Metadata
types.RootFS: Type string?, Layers []string?
image.Metadata: LastTagTime string
volume.Volume: ClusterVolume any?, CreatedAt string?, Driver string, Labels map[string]string,
    Mountpoint string, Name string, Options map[string]string, Scope string,
    Status map[string]interface {}?, UsageData *volume.UsageData?
volume.UsageData: RefCount int64, Size int64
types.NetworkResource: Name string, ID/Id string, Created string, Scope string, Driver string,
    EnableIPv6 bool, IPAM network.IPAM, Internal bool, Attachable bool, Ingress bool,
    ConfigFrom network.ConfigReference, ConfigOnly bool,
    Containers map[string]types.EndpointResource, Options map[string]string,
    Labels map[string]string, Peers []any?, Services map[string]interface {}?
network.IPAM: Driver string, Options map[string]string, Config []network.IPAMConfig
network.IPAMConfig: Subnet string?, IPRange string?, Gateway string?,
    AuxAddress/AuxiliaryAddresses map[string]string?
network.ConfigReference: Network string
types.EndpointResource: Name string, EndpointID string, MacAddress string, IPv4Address string,
    IPv6Address string
system.dockerInfo: + *system.Info
system.Info: ID string, Containers int, ContainersRunning int, ContainersPaused int,
    ContainersStopped int, Images int, Driver string, DriverStatus [][2]string,
    Plugins system.PluginsInfo, MemoryLimit bool, SwapLimit bool, CPUCfsPeriod/CpuCfsPeriod bool,
    CPUCfsQuota/CpuCfsQuota bool, CPUShares bool, CPUSet bool, PidsLimit bool,
    IPv4Forwarding bool, Debug bool, OomKillDisable bool, SystemTime string, LoggingDriver string,
    CgroupDriver string, CgroupVersion string?, KernelVersion string, OperatingSystem string,
    OSVersion string, OSType string, Architecture string, NCPU int, MemTotal int64,
    DockerRootDir string, Name string, Labels []string, ServerVersion string,
    Runtimes map[string]system.RuntimeWithStatus, DefaultRuntime string, InitBinary string,
    SecurityOptions []string, Warnings []string
system.PluginsInfo: Volume []string, Network []string, Authorization []string, Log []string
system.RuntimeWithStatus: Path/path string?, Args/runtimeArgs []string?
system.versionInfo: Client system.clientVersion, Server *types.Version
system.clientVersion: Version string, APIVersion/ApiVersion string, PythonVersion string,
    Os string, Arch string
types.Version: Platform system.platform, Components []any?, Version string,
    APIVersion/ApiVersion string, MinAPIVersion string?, PythonVersion string, Os string,
    Arch string, KernelVersion string?
system.platform: Name string
events.Message: Status/status string?, ID/id string?, From/from string?, Type string,
    Action string, Actor events.Actor, Scope/scope string?, Time/time int64?,
    TimeNano/timeNano int64?
events.Actor: ID string, Attributes map[string]string
"""
_MOUNT_POINT = "types.MountPoint"
_NAMED = {
    "nat.PortMap": "map[string][]nat.PortBinding",
    "nat.PortSet": "map[string]struct {}",
    "strslice.StrSlice": "[]string",
}
_NUMBERS = ("int", "int64", "uint", "uint16", "uint32", "uint64")
_SCALARS: dict[str, object] = {"string": "", "bool": False, **dict.fromkeys(_NUMBERS, 0)}


class _Column:
    """A field: its name in Go and in JSON, its type, whether JSON omits it if empty."""

    def __init__(self, text: str) -> None:
        names, _, kind = text.strip().partition(" ")
        self.embedded = names == "+"
        self.optional = kind.endswith("?")
        self.kind = kind.rstrip("?")
        self.name, _, json_name = names.partition("/")
        self.json_name = json_name or self.name
        if self.embedded:
            self.name = self.kind.rpartition(".")[2]


_columns: dict[str, list[_Column]] = {}


def _columns_of(type_name: str) -> list[_Column]:
    if not _columns:
        for entry in _TABLE.strip().replace("\n    ", " ").splitlines():
            name, _, fields = entry.partition(":")
            _columns[name] = [_Column(text) for text in fields.split(",") if text.strip()]
    return _columns[type_name]


class Typed(Struct):
    """A JSON object as a Go struct."""

    def __init__(
        self, type_name: str, data: Mapping[str, object], *, is_pointer: bool = False
    ) -> None:
        self.type_name = type_name
        self.is_pointer = is_pointer
        self._data = data

    def _value(self, column: _Column) -> object:
        if column.embedded:
            return self._embedded(column)
        return typed(column.kind, self._data.get(column.json_name))

    def _embedded(self, column: _Column) -> Typed:
        return Typed(column.kind.lstrip("*"), self._data, is_pointer="*" in column.kind)

    def field(self, name: str) -> object:
        columns = _columns_of(self.type_name)
        for column in columns:
            if column.name == name:
                return self._value(column)
        for column in columns:
            if column.embedded:
                try:
                    return self._embedded(column).field(name)
                except KeyError:
                    continue
        raise KeyError(name)

    def values(self) -> list[object]:
        return [self._value(column) for column in _columns_of(self.type_name)]

    def names(self) -> list[str]:
        return [column.name for column in _columns_of(self.type_name)]

    def plain(self) -> dict[str, object]:
        result: dict[str, object] = {}
        for column in _columns_of(self.type_name):
            if column.embedded:
                result |= self._embedded(column).plain()
                continue
            value = self._value(column)
            if not (column.optional and _is_empty(column, value)):
                result[column.json_name] = plain(value)
        return result


def _is_empty(column: _Column, value: object) -> bool:
    """Whether omitempty omits a value; a pointer to an empty value (StopTimeout 0) is not empty."""
    if isinstance(value, Typed) or column.kind.startswith("*"):
        return isinstance(value, Nil)
    return isinstance(value, Nil) or not value


def typed(kind: str, data: Any) -> object:  # data: JSON of the form that the kind says
    """Convert JSON data to a Go value of a type; null becomes the zero value."""
    real = _NAMED.get(kind, kind)
    if kind in _SCALARS:
        return _SCALARS[kind] if data is None else data
    if real == "[2]uint":
        return Slice(kind, data or [0, 0])
    if data is None and real.startswith(("*", "[", "map[")):
        return Nil(kind)
    if real.startswith("*"):
        inner = real[1:]
        return data if inner in _SCALARS else Typed(inner, data, is_pointer=True)
    item = real.partition("]")[2]
    if real.startswith("["):
        return Slice(kind, [typed(item, part) for part in data])
    if real.startswith("map["):
        return Map(kind, [(name, _element(item, part)) for name, part in data.items()])
    if real == "any":
        return raw(data)
    return Typed(real, data or {})


def _element(item: str, data: object) -> object:
    if item == "struct {}":
        return _EMPTY
    return raw(data) if item == "interface {}" else typed(item, data)


def in_order(kind: str, data: object) -> object:
    """Sort the keys of maps in JSON data, as Go does; struct fields keep their order.

    A mount point loses the fields that only its start uses (size, creation of its source).
    """
    real = _NAMED.get(kind, kind).lstrip("*")
    if isinstance(data, list):
        return [in_order(real.partition("]")[2], part) for part in data]
    if not isinstance(data, dict):
        return data
    if real.startswith("map["):
        return {name: in_order(real.partition("]")[2], data[name]) for name in sorted(data)}
    kinds = _kinds_of(real) if "." in real else {}
    if real == _MOUNT_POINT:
        data = {name: part for name, part in data.items() if name in kinds}
    return {name: in_order(kinds.get(name, "any"), part) for name, part in data.items()}


def _kinds_of(type_name: str) -> dict[str, str]:
    """Return the types of a struct's fields, embedded ones too, by JSON name."""
    kinds: dict[str, str] = {}
    for column in _columns_of(type_name):
        kinds |= _kinds_of(column.kind.lstrip("*")) if column.embedded else {}
        kinds[column.json_name] = column.kind
    return kinds


class _Empty(Struct):
    """struct {}: the value of a map that is used as a set."""

    def field(self, name: str) -> object:
        raise KeyError(name)

    def values(self) -> list[object]:
        return []

    def plain(self) -> object:
        return {}


_EMPTY = _Empty()


def raw(data: object) -> object:
    """Convert JSON data to untyped template values: numbers keep their digits."""
    if isinstance(data, dict):
        return {name: raw(part) for name, part in data.items()}
    if isinstance(data, list):
        return [raw(part) for part in data]
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return Number(data)
    return data
