"""Creating a container: its document combines the request, the image and Docker's defaults.

All checks come before anything is created. Then the directory is created atomically: container.json
is written last, under the lock of all creations.

`create` takes the body of Docker's ContainerCreate call, so that the command line and an API can
share it.

Sources: Docker Engine API v1.45 ContainerCreate; moby's runconfig for merging the two configs.
"""

from __future__ import annotations

import os

from minidock.document import sync, without_empty
from minidock.engine.container import inspect_defaults
from minidock.engine.container.containers import Container
from minidock.engine.container.events import emit_container
from minidock.engine.container.lookup import find
from minidock.engine.container.mount_points import mount_points
from minidock.engine.container.mounts import create_volumes
from minidock.engine.container.name_links import claim_name
from minidock.engine.container.own_layer import create_own_layer
from minidock.engine.container.random_name import random_name
from minidock.engine.container.validation import check_body, check_name
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.lock import ImagesLock
from minidock.engine.network.network_json import DRIVERS, list_names, read_all
from minidock.engine.store.locks import exclusive
from minidock.engine.store.store import prepare
from minidock.engine.store.timestamps import NEVER, timestamp
from minidock.errors import Conflict, UsageError
from minidock.numerals import is_decimal
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from minidock.document_types.container import (
        BuildDirectories,
        ContainerConfig,
        ContainerDocument,
        ContainerState,
        CreateBody,
        GraphDriver,
        Healthcheck,
    )
    from minidock.document_types.image import ImageConfig
    from minidock.paths import ContainerPaths

    T = TypeVar("T")

_NAME_ATTEMPTS = 20
_STATE_CREATED: ContainerState = {
    "Status": "created", "Running": False, "Paused": False, "Restarting": False,
    "OOMKilled": False, "Dead": False, "Pid": 0, "ExitCode": 0, "Error": "",
    "StartedAt": NEVER, "FinishedAt": NEVER,
}  # fmt: skip


class BuildBase:
    """The base of a RUN step instead of an image: layers that are not yet an image.

    id: of the image that the stage is based on, "" for none. lowers: its layers' directories,
    lowest first. upper, work: directories of the build, in its entry of staging/, which is `home`.
    """

    def __init__(self, image_id: str, lowers: list[str], upper: str, work: str, home: str) -> None:
        self.id = image_id
        self.config: ImageConfig = {"rootfs": {}}
        self.document: BuildDirectories = {
            "Lowers": lowers, "Upper": upper, "Work": work, "Home": home,
        }  # fmt: skip

    def layer_directories(self) -> list[str]:
        return self.document["Lowers"]


def create(
    store: Store, body: CreateBody, *, name: str | None, step: BuildBase | None = None
) -> Container:
    """Create a container from an image; nothing runs yet.

    body: Docker's ContainerCreate JSON. name: None for a random one. step: of a build, instead of
    an image; such a container is removed when its command ends.
    Raises NotFound for the image or a volume, Conflict for a name in use, UsageError. An error
    leaves nothing behind.
    """
    if name is not None:
        check_name(name)
    check_body(store, body)
    prepare(store)
    resolve_network_names(store, body)
    image = step or ImageStore(store).resolve(body["Image"])
    document = draft(store, body, image, container_id=_random_id())
    if step is not None:
        document["Build"] = step.document
        document["GraphDriver"]["Data"].update(
            {"UpperDir": step.document["Upper"], "WorkDir": step.document["Work"]}
        )
    container = Container(store, document)
    with ImagesLock(store), exclusive(f"{_containers_directory(store)}/.lock"):
        if step is None:
            ImageStore(store).resolve(image.id)  # exists: from here on no rmi can remove it
        try:
            _make_home(store, container, name)
        except BaseException:
            from minidock.engine.container.removal import remove_incomplete  # seldom needed

            remove_incomplete(store, container.id)
            raise
    emit_container(container, "create")
    return container


def _random_id() -> str:
    """Return a new container's id: 64 hex digits, of which the first twelve are not all decimal.

    Those are its hostname. glibc takes a number for an IPv4 address that is too large, and then
    looks it up neither in /etc/hosts nor by DNS.
    Source: inet(3) "Address formats"; moby's stringid.GenerateRandomID, which does the same.
    """
    while is_decimal((drawn := os.urandom(32).hex())[:12]):
        continue
    return drawn


def resolve_network_names(store: Store, body: CreateBody) -> None:
    """Replace network ids by names; the start checks whether the networks exist."""
    host_config = body.get("HostConfig") or {}
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    asked = [host_config.get("NetworkMode") or "", *endpoints]
    known = {"", "default", *DRIVERS, *list_names(store)}
    for text in asked:
        if text in known or text.startswith("container:"):
            continue
        name = next((n["Name"] for n in read_all(store) if n["Id"].startswith(text)), text)
        if host_config.get("NetworkMode") == text:
            host_config["NetworkMode"] = name
        if text in endpoints:
            endpoints[name] = endpoints.pop(text)


def _containers_directory(store: Store) -> str:
    os.makedirs(store.containers, mode=0o711, exist_ok=True)
    return store.containers


def _make_home(store: Store, container: Container, name: str | None) -> None:
    """Create the container's directory; the caller holds the lock of all creations."""
    for attempt in range(_NAME_ATTEMPTS):
        chosen = name or random_name(attempt)
        try:
            claim_name(store, chosen, container.id)
            break
        except Conflict:
            if name is not None or attempt == _NAME_ATTEMPTS - 1:
                raise
    container.document["Name"] = "/" + chosen
    paths = container.paths
    for directory in (paths.home, paths.bundle, paths.merged):
        os.mkdir(directory, 0o710 if directory == paths.home else 0o755)
    create_own_layer(container)
    temporary = [paths.temporary] if container.is_temporary else []
    for file in (paths.lock, paths.monitor_lock, paths.log, paths.journal, *temporary):
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    create_volumes(store, container.document["Mounts"], container.id, _volume_note(container))
    container.save()
    if not container.is_temporary:
        sync(store.containers)
        sync(store.names)
    if os.path.exists(paths.made_volumes):
        os.unlink(paths.made_volumes)


def _volume_note(container: Container) -> Callable[[str], None]:
    """Return a function that records created volumes, to remove them if the creation fails."""

    def note(name: str) -> None:
        with open(container.paths.made_volumes, "a", encoding="ascii") as file:
            file.write(f"{name}\n")

    return note


def draft(
    store: Store, body: CreateBody, image: Image | BuildBase, *, container_id: str
) -> ContainerDocument:
    """Build the document of a container from a checked body, in the form of `docker inspect`.

    Nothing is created: it has no name yet, and its volumes may be missing.
    Raises UsageError if there is no command, and for invalid mounts.
    """
    document = _document(store, body, image, container_id)
    if not (document["Config"]["Entrypoint"] or document["Config"]["Cmd"]):
        raise UsageError(
            "no command specified", hint="the image has no command: give one after its name"
        )
    document["Mounts"] = mount_points(store, document)
    return document


def _document(
    store: Store, body: CreateBody, image: Image | BuildBase, container_id: str
) -> ContainerDocument:
    paths = store.container(container_id)
    config = merge_config(body, image.config.get("config") or {})
    config["Hostname"] = config.get("Hostname") or _hostname(store, body, container_id)
    command = [*(config["Entrypoint"] or []), *(config["Cmd"] or [])]
    host_config = inspect_defaults.host_config(body.get("HostConfig") or {})
    endpoints = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
    return {
        "Id": container_id,
        "Created": timestamp(),
        "Path": command[0] if command else "",
        "Args": command[1:],
        "State": _STATE_CREATED.copy(),
        "Image": image.id,
        "ResolvConfPath": paths.resolv_conf,
        "HostnamePath": paths.hostname,
        "HostsPath": paths.hosts,
        "LogPath": paths.log,
        "Name": "",
        "RestartCount": 0,
        "Driver": "overlay",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": None,
        "HostConfig": host_config,
        "GraphDriver": _graph_driver(image, paths),
        "Mounts": [],
        "Config": config,
        "NetworkSettings": inspect_defaults.network_settings(host_config["NetworkMode"], endpoints),
    }


def _graph_driver(image: Image | BuildBase, paths: ContainerPaths) -> GraphDriver:
    """Return the directories of its overlay; in LowerDir the topmost layer comes first."""
    return {
        "Name": "overlay",
        "Data": {
            "LowerDir": ":".join(reversed(image.layer_directories())),
            "MergedDir": paths.merged,
            "UpperDir": paths.upper,
            "WorkDir": paths.work,
        },
    }


def _hostname(store: Store, body: CreateBody, container_id: str) -> str:
    """Return the machine's, that of the container whose network is joined, or its own."""
    host_config = body.get("HostConfig") or {}
    kind, _, joined = (host_config.get("NetworkMode") or "").partition(":")
    if kind == "container":
        return str(find(store, joined).config["Hostname"])
    if host_config.get("NetworkMode") == "host" or host_config.get("UTSMode") == "host":
        return os.uname().nodename
    return container_id[:12]


def merge_config(body: CreateBody, image: ContainerConfig) -> ContainerConfig:
    """Merge the request and the image's config to a container's Config; the request wins.

    A requested entrypoint drops the image's command too; [""] drops the image's entrypoint.
    """
    asked = body.copy()
    asked.pop("HostConfig", None)
    asked.pop("NetworkingConfig", None)
    merged: ContainerConfig = asked
    entrypoint, command = _merge_command(body, image)
    merged.update({
        "Hostname": body.get("Hostname") or "",
        "Domainname": body.get("Domainname") or "",
        "User": body.get("User") or image.get("User") or "",
        "Env": merge_environment(image.get("Env") or [], body.get("Env") or []),
        "Cmd": command,
        "Image": body["Image"],
        "Volumes": _both(body.get("Volumes"), image.get("Volumes")) or None,
        "WorkingDir": body.get("WorkingDir") or image.get("WorkingDir") or "",
        "Entrypoint": entrypoint,
        "OnBuild": None,
        "Labels": _both(body.get("Labels"), image.get("Labels")),
    })  # fmt: skip
    optional: ContainerConfig = {
        "ExposedPorts": _both(body.get("ExposedPorts"), image.get("ExposedPorts")),
        "StopSignal": body.get("StopSignal") or image.get("StopSignal") or "",
        "Shell": body.get("Shell") or image.get("Shell"),
        "Healthcheck": _merge_health(body.get("Healthcheck"), image.get("Healthcheck")),
    }
    merged.update(without_empty(optional))
    return merged


def _both(asked: dict[str, T] | None, image: dict[str, T] | None) -> dict[str, T]:
    """Merge a field that is a map: the image's entries, overridden by requested ones."""
    return {**(image or {}), **(asked or {})}


def _merge_command(
    body: CreateBody, image: ContainerConfig
) -> tuple[list[str] | None, list[str] | None]:
    """Merge the entrypoint and the command."""
    entrypoint, command = body.get("Entrypoint"), body.get("Cmd")
    if not entrypoint:
        return image.get("Entrypoint"), command or image.get("Cmd")
    return (None if entrypoint == [""] else entrypoint), command


def _merge_health(asked: Healthcheck | None, image: Healthcheck | None) -> Healthcheck | None:
    """Merge the health check: parts that were not requested are the image's."""
    merged: Healthcheck = {**(image or {}), **without_empty(asked or {})}
    return merged or None


def merge_environment(image: list[str], asked: list[str]) -> list[str]:
    """Merge Config.Env: requested entries, the last of each name, then the image's other ones.

    NAME alone is kept: it unsets that variable when the container starts.
    """
    last = {entry.partition("=")[0]: entry for entry in asked}
    return [
        *last.values(),
        *(entry for entry in image if entry.partition("=")[0] not in last),
    ]
