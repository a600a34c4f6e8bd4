"""The OCI runtime's documents: config.json of a bundle, state.json, and the state.

A config.json may come from anybody: runtime/config_validation.py validates it before it has these
types. Most fields may be missing in it.

Sources: OCI runtime-spec config, config-linux, "State"; moby's profiles/seccomp/seccomp.go for
Docker's form of a seccomp profile.
"""

from typing import Literal, NotRequired, TypedDict


class ConsoleSize(TypedDict, total=False):
    """Characters."""

    height: int
    width: int


class User(TypedDict, total=False):
    uid: int
    gid: int
    umask: int
    additionalGids: list[int]


class Capabilities(TypedDict, total=False):
    """The five sets of a process: names such as "CAP_CHOWN"."""

    bounding: list[str]
    effective: list[str]
    permitted: list[str]
    inheritable: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """type: "RLIMIT_NOFILE". -1: unlimited."""

    type: str
    soft: int
    hard: int


class Process(TypedDict, total=False):
    """The container's first process, or one that exec adds."""

    terminal: bool
    consoleSize: ConsoleSize
    user: User
    args: list[str]
    env: list[str]
    cwd: str
    capabilities: Capabilities
    noNewPrivileges: bool
    rlimits: list[Rlimit]
    oomScoreAdj: int
    apparmorProfile: str


class Root(TypedDict):
    """path: of the rootfs, absolute or in the bundle."""

    path: str
    readonly: NotRequired[bool]


class Mount(TypedDict):
    """options: those of mount(8)."""

    destination: str
    type: NotRequired[str]
    source: NotRequired[str]
    options: NotRequired[list[str]]


class Namespace(TypedDict):
    """type: "pid", "network", "mount", "ipc", "uts", "cgroup". path: the one to join."""

    type: str
    path: NotRequired[str]


class Device(TypedDict):
    """A node to make. type: "c", "b" or "p"."""

    path: str
    type: str
    major: NotRequired[int]
    minor: NotRequired[int]
    fileMode: NotRequired[int]
    uid: NotRequired[int]
    gid: NotRequired[int]


class DeviceRule(TypedDict, total=False):
    """Which nodes may be used. Without type, major, minor: all. access: letters of "rwm"."""

    allow: bool
    type: str
    major: int | None
    minor: int | None
    access: str


class Memory(TypedDict, total=False):
    """Bytes; -1: unlimited. swap: memory and swap together."""

    limit: int
    swap: int
    reservation: int
    swappiness: int | None
    disableOOMKiller: bool
    kernelTCP: int
    useHierarchy: bool
    checkBeforeUpdate: bool


CpuNumber = Literal[
    "shares", "quota", "period", "burst", "realtimeRuntime", "realtimePeriod", "idle"
]


class Cpu(TypedDict, total=False):
    """Times are in microseconds. cpus, mems: lists such as "0-2,4"."""

    shares: int
    quota: int
    period: int
    burst: int
    realtimeRuntime: int
    realtimePeriod: int
    idle: int
    cpus: str
    mems: str


class Pids(TypedDict):
    limit: int


class BlockDevice(TypedDict, total=False):
    """A limit of one device. rate: bytes or operations per second."""

    major: int
    minor: int
    weight: int
    leafWeight: int
    rate: int


Throttle = Literal[
    "throttleReadBpsDevice", "throttleWriteBpsDevice", "throttleReadIOPSDevice",
    "throttleWriteIOPSDevice",
]  # fmt: skip


class BlockIo(TypedDict, total=False):
    weight: int
    leafWeight: int
    weightDevice: list[BlockDevice]
    throttleReadBpsDevice: list[BlockDevice]
    throttleWriteBpsDevice: list[BlockDevice]
    throttleReadIOPSDevice: list[BlockDevice]
    throttleWriteIOPSDevice: list[BlockDevice]


class HugepageLimit(TypedDict):
    """pageSize: "2MB". limit: bytes."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict):
    name: str
    priority: int


class NetworkResources(TypedDict, total=False):
    """Of cgroup v1: net_cls and net_prio."""

    classID: int
    priorities: list[InterfacePriority]


class Resources(TypedDict, total=False):
    """The limits of the container's cgroup."""

    devices: list[DeviceRule]
    memory: Memory
    cpu: Cpu
    pids: Pids
    blockIO: BlockIo
    hugepageLimits: list[HugepageLimit]
    network: NetworkResources
    unified: dict[str, str]  # values of cgroup v2 files


class SyscallArgument(TypedDict):
    index: int
    value: int
    valueTwo: NotRequired[int]
    op: str  # "SCMP_CMP_EQ"


class SyscallRule(TypedDict):
    names: list[str]
    action: str  # "SCMP_ACT_ALLOW"
    errnoRet: NotRequired[int | None]
    args: NotRequired[list[SyscallArgument]]


class Seccomp(TypedDict, total=False):
    """A seccomp profile: what to do with each system call."""

    defaultAction: str
    defaultErrnoRet: int | None
    architectures: list[str]
    flags: list[str]
    syscalls: list[SyscallRule]
    listenerPath: str  # of SCMP_ACT_NOTIFY, which minidock refuses
    listenerMetadata: str


class RuleCondition(TypedDict, total=False):
    """What a container or its machine has. arches: "amd64". minKernel: "4.8"."""

    caps: list[str]
    arches: list[str]
    minKernel: str


class DockerSyscallRule(TypedDict, total=False):
    """A rule in Docker's form: it counts if all of `includes` and none of `excludes` holds."""

    name: str
    names: list[str]
    action: str
    errnoRet: int | None
    args: list[SyscallArgument]
    comment: str
    includes: RuleCondition
    excludes: RuleCondition


class ArchitectureMap(TypedDict):
    """The architectures whose programs a machine can run too: "SCMP_ARCH_X86_64"."""

    architecture: str
    subArchitectures: NotRequired[list[str]]


class DockerSeccomp(TypedDict, total=False):
    """A seccomp profile in Docker's form, of which `resolve_profile` makes OCI's."""

    defaultAction: str
    defaultErrnoRet: int | None
    architectures: list[str]
    archMap: list[ArchitectureMap]
    flags: list[str]
    syscalls: list[DockerSyscallRule]


class Linux(TypedDict, total=False):
    namespaces: list[Namespace]
    cgroupsPath: str
    resources: Resources
    devices: list[Device]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    sysctl: dict[str, str]
    seccomp: Seccomp
    rootfsPropagation: str


class Hook(TypedDict):
    """A program to run. timeout: seconds."""

    path: str
    args: NotRequired[list[str]]
    env: NotRequired[list[str]]
    timeout: NotRequired[int]


Hooks = dict[str, list[Hook] | None]  # by kind, such as "poststop"


class RuntimeConfig(TypedDict, total=False):
    """The content of config.json."""

    ociVersion: str
    process: Process
    root: Root
    hostname: str
    domainname: str
    mounts: list[Mount]
    linux: Linux
    hooks: Hooks
    annotations: dict[str, str]


class StateDocument(TypedDict):
    """The content of state.json. cgroup: its parent and its name.

    startTime: of init, in clock ticks since boot (proc_pid_stat(5)); there if pid is not 0.
    """

    id: str
    pid: int  # of init in the host's PID namespace; 0 until it is created
    startTime: NotRequired[int]
    bundle: str
    cgroup: list[str]
    rootfs: NotRequired[str]
    created: NotRequired[str]  # RFC 3339
    annotations: NotRequired[dict[str, str]]
    hooks: NotRequired[Hooks]
    keyring: NotRequired[str]


class OciState(TypedDict):
    """What `state` prints, and hooks read. status: see runtime/state.py."""

    ociVersion: str
    id: str
    pid: int
    status: str
    bundle: str
    rootfs: str
    created: str
    annotations: NotRequired[dict[str, str]]
    owner: NotRequired[str]  # runc's: a user name
