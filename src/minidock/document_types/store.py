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


class Event(TypedDict):
    """A line of the events file. time, timeNano: since 1970, in seconds and nanoseconds."""

    Type: str
    Action: str
    Actor: Actor
    scope: Literal["local"]
    time: int
    timeNano: int


class CacheRecord(TypedDict):
    """A record of the build cache. says: the instruction. used: the last use, since 1970."""

    diff_id: str
    chain_id: str
    created: str  # RFC 3339
    size: int  # bytes
    says: str
    used: NotRequired[float]  # the file's mtime, added when it is read
