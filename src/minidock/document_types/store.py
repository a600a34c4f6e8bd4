"""Smaller documents of the store: volume.json, events, records of the build cache.

Source: Docker Engine API 1.45, Volume and SystemEvents.
"""

from typing import Literal, NotRequired, TypedDict


class VolumeDocument(TypedDict):
    """The content of volume.json. CreatedAt: RFC 3339, in seconds."""

    CreatedAt: str
    Driver: str
    Labels: dict[str, str] | None
    Name: str
    Options: dict[str, str] | None  # of the local driver: type, device, o
    Scope: str


class UsageData(TypedDict):
    """Size: bytes. RefCount: the containers that mount it."""

    RefCount: int
    Size: int


class VolumeInspect(VolumeDocument):
    """A volume in the form of `docker volume inspect`."""

    Mountpoint: str
    UsageData: NotRequired[UsageData]


class Actor(TypedDict):
    """What an event is about."""

    ID: str
    Attributes: dict[str, str]


# Of a container's events only: the action, the container, its image.
ContainerFields = TypedDict("ContainerFields", {"status": str, "id": str, "from": str}, total=False)


class Event(ContainerFields):
    """A line of the events file. time, timeNano: since 1970, in seconds and nanoseconds."""

    Type: str
    Action: str
    Actor: Actor
    scope: Literal["local"]
    time: int
    timeNano: int


class EndNote(TypedDict):
    """How a run has ended: noted in monitor.lock until container.json says so."""

    ExitCode: int
    Error: str
    OOMKilled: bool
    FinishedAt: str  # RFC 3339


class CacheRecord(TypedDict):
    """A record of the build cache. says: the instruction. used: the last use, since 1970."""

    diff_id: str
    chain_id: str
    created: str  # RFC 3339
    size: int  # bytes
    says: str
    used: NotRequired[float]  # the file's mtime, added when it is read
