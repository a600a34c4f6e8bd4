"""What the probes of --without find, and what they know of the host; for type checkers only."""

from typing import TypedDict


class Finding(TypedDict, total=False):
    """What a probe found.

    leaked: whether the isolation leaks. attempted: False if it could not be tested. The other
    fields are for the sentence of the report.
    """

    probe: str
    leaked: bool
    attempted: bool
    errno: str
    count: int
    examples: list[str]
    names: list[str]
    paths: list[str]
    path: str
    name: str
    on_the_host: str
    pid: int
    port: int
    device: str
    bytes: int
    mode: str


class CanaryFacts(TypedDict):
    """What listens on the host for the probes; see class Host of probes.py."""

    port: int
    socket: str
    segment: int


class HostFacts(TypedDict):
    """What the host is like."""

    processes: dict[int, int]
    monitor: int
    interfaces: list[str]
    network: int
    hostname: str
    names: int
    root: tuple[int, int]
    shared_memory: tuple[int, int]


class Facts(CanaryFacts, HostFacts):
    """All that class Host is made of."""
