"""networks/<name>.json with its leases, published ports, and the networks' Docker forms.

Sources: Docker Engine API 1.45, NetworkCreate, NetworkInspect, EndpointSettings, PortMap.
"""

from typing import Literal, NotRequired, TypedDict


class PortBinding(TypedDict, total=False):
    """Docker's. HostIp: "" for all addresses. HostPort: "8090", a range, or "" for any."""

    HostIp: str
    HostPort: str


# By "80/tcp"; None: exposed, not published.
PortMap = dict[str, list[PortBinding] | None]


class Binding(TypedDict):
    """A published port. HostPort: as in PortBinding before it is held, then a number."""

    HostIp: str
    HostPort: int | str
    Proto: str  # "tcp" or "udp"
    ContainerPort: int | str


class ContainerBinding(Binding):
    """A published port with its container's IP address and id."""

    Address: str
    Container: str


class Lease(TypedDict, total=False):
    """What a container has of a network. Only Address is there while it is just reserved.

    Bindings: its published ports. Cable: the veth's end on the host. Interface: the device's name
    in the container. Names: its DNS names, on user-defined networks.
    """

    Address: str  # IPv4, without prefix length
    EndpointID: str
    MacAddress: str
    Bindings: list[Binding]
    Cable: str
    Interface: str
    Names: list[str] | None


class IpamConfig(TypedDict, total=False):
    """A requested subnet. IPRange: the part of it for containers; AuxiliaryAddresses: reserved."""

    Subnet: str
    IPRange: str
    Gateway: str
    AuxiliaryAddresses: dict[str, str]


class NetworkDocument(TypedDict):
    """The content of networks/<name>.json. host and none have no device, subnet and gateway.

    Those from Internal on are of user-defined networks. Asked: what `network create` requested.
    """

    Name: str
    Id: str  # 64 hex digits
    Created: str  # RFC 3339
    Driver: str  # "bridge", "host" or "null"
    Leases: dict[str, Lease]  # by container id
    Device: NotRequired[str]  # the bridge
    Subnet: NotRequired[str]  # "172.17.0.0/16"
    Gateway: NotRequired[str]  # the bridge's address
    Internal: NotRequired[bool]
    Attachable: NotRequired[bool]
    Labels: NotRequired[dict[str, str] | None]
    Options: NotRequired[dict[str, str] | None]
    Asked: NotRequired[IpamConfig | None]


class EndpointIpam(TypedDict, total=False):
    """Requested addresses."""

    IPv4Address: str
    IPv6Address: str
    LinkLocalIPs: list[str]


class EndpointRequest(TypedDict, total=False):
    """What NetworkConnect and ContainerCreate may ask of an endpoint."""

    IPAMConfig: EndpointIpam | None
    Links: list[str] | None
    Aliases: list[str] | None
    MacAddress: str
    DriverOpts: dict[str, str] | None


class Endpoint(TypedDict):
    """NetworkSettings.Networks.<name>: what was requested and, while it runs, what it has."""

    IPAMConfig: EndpointIpam | None
    Links: list[str] | None
    Aliases: list[str] | None
    MacAddress: str
    NetworkID: str
    EndpointID: str
    Gateway: str
    IPAddress: str
    IPPrefixLen: int
    IPv6Gateway: str
    GlobalIPv6Address: str
    GlobalIPv6PrefixLen: int
    DriverOpts: dict[str, str] | None
    DNSNames: list[str] | None


class Ipam(TypedDict):
    Driver: str
    Options: dict[str, str] | None
    Config: list[IpamConfig] | None


class ConnectedContainer(TypedDict):
    """An endpoint in `network inspect`. IPv4Address: with prefix length."""

    Name: str
    EndpointID: str
    MacAddress: str
    IPv4Address: str
    IPv6Address: str


class ConfigReference(TypedDict):
    Network: str


class NetworkInspect(TypedDict):
    """A network in the form of `docker network inspect`."""

    Name: str
    Id: str
    Created: str
    Scope: Literal["local"]
    Driver: str
    EnableIPv6: bool
    IPAM: Ipam
    Internal: bool
    Attachable: bool
    Ingress: bool
    ConfigFrom: ConfigReference
    ConfigOnly: bool
    Containers: dict[str, ConnectedContainer]
    Options: dict[str, str]
    Labels: dict[str, str] | None
