"""Containers as `ps` lists them: the summary of Docker's API, and its row in a table.

Source: Docker Engine API 1.45, ContainerList; docker's own output.
"""

from __future__ import annotations

from minidock.cli.output.columns import Row
from minidock.cli.output.human import ago, duration, ellipsis, local_time, moment_of, short_id, size
from minidock.cli.output.template.values import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document_types.container import (
        ContainerDocument,
        ContainerState,
        ContainerSummary,
        PublishedPort,
    )

COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
HEADINGS = {
    "ID": "CONTAINER ID",
    "Names": "NAMES",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "CreatedAt": "CREATED AT",
    "RunningFor": "CREATED",
    "Ports": "PORTS",
    "State": "STATE",
    "Status": "STATUS",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}


def summary(document: ContainerDocument, image: str) -> ContainerSummary:
    """Convert a container's document to an entry of the API's ContainerList.

    image: the name to show, or the image ID if the name now refers to another image.
    """
    arguments = [f"'{word}'" if " " in word else word for word in document["Args"]]
    settings = document["NetworkSettings"]
    return {
        "Id": document["Id"],
        "Names": [document["Name"]],
        "Image": image,
        "ImageID": document["Image"],
        "Command": " ".join([document["Path"], *arguments]),
        "Created": int(moment_of(document["Created"])),
        "Ports": list(_ports(document)),
        "Labels": document["Config"].get("Labels") or {},
        "State": document["State"]["Status"],
        "Status": status(document["State"]),
        "HostConfig": {"NetworkMode": document["HostConfig"].get("NetworkMode", "default")},
        "NetworkSettings": {"Networks": settings.get("Networks") or {}},
        "Mounts": document.get("Mounts") or [],
    }


def status(state: ContainerState) -> str:
    """Return STATUS: "Up 2 minutes (Paused)", "Restarting (1) 5 seconds ago", "Created"."""
    import time

    started, finished = moment_of(state["StartedAt"]), moment_of(state["FinishedAt"])
    if state["Restarting"]:
        return f"Restarting ({state['ExitCode']}) {ago(finished)}"
    if state["Running"]:
        up = duration(time.time() - started)
        if state["Paused"]:
            return f"Up {up} (Paused)"
        health = state["Health"]["Status"] if "Health" in state else "none"
        shown = {"none": "", "starting": " (health: starting)"}.get(health, f" ({health})")
        return f"Up {up}{shown}"
    if state["Status"] in ("removing", "dead"):
        return str(state["Status"]).replace("removing", "Removal In Progress").capitalize()
    if not started:
        return "Created"
    return f"Exited ({state['ExitCode']}) {ago(finished)}" if finished else ""


def _ports(document: ContainerDocument) -> Iterable[PublishedPort]:
    """Return published and exposed ports of a running container."""
    published = document["NetworkSettings"].get("Ports") or {}
    if not document["State"]["Running"] or document["State"]["Restarting"]:
        return
    for port in published:
        number, _, protocol = port.partition("/")
        bindings = published.get(port) or []
        for binding in bindings:
            yield {
                "IP": binding["HostIp"],
                "PublicPort": int(binding["HostPort"] or 0),
                "PrivatePort": int(number),
                "Type": protocol or "tcp",
            }
        if not bindings:
            yield {"PrivatePort": int(number), "Type": protocol or "tcp"}


def row(container: ContainerSummary, *, truncate: bool) -> Row:
    """Return the row of a container; container: the result of `summary`."""
    labels: dict[str, str] = container["Labels"] or {}
    return Row(
        "formatter.ContainerContext",
        {
            "ID": lambda: short_id(container["Id"]) if truncate else container["Id"],
            "Names": lambda: _names(container["Names"], truncate=truncate),
            "Image": lambda: _image(container, truncate=truncate),
            "Command": lambda: quoted(
                ellipsis(container["Command"], 20) if truncate else container["Command"]
            ),
            "CreatedAt": lambda: local_time(container["Created"]),
            "RunningFor": lambda: ago(container["Created"]),
            "Ports": lambda: displayed_ports(container["Ports"]),
            "State": lambda: container["State"],
            "Status": lambda: container["Status"],
            "Size": lambda: _size(container),
            "Labels": lambda: ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
            "Label": lambda name: labels.get(name, ""),
            "Mounts": lambda: _mounts(container, truncate=truncate),
            "LocalVolumes": lambda: str(
                sum(mount.get("Driver") == "local" for mount in container["Mounts"])
            ),
            "Networks": lambda: ",".join(container["NetworkSettings"]["Networks"]),
        },
    )


def _names(names: list[str], *, truncate: bool) -> str:
    shown = [name.removeprefix("/") for name in names]
    return ",".join(name for name in shown if not truncate or "/" not in name)


def _image(container: ContainerSummary, *, truncate: bool) -> str:
    image: str = container["Image"]
    if not image:
        return "<no image>"
    if not truncate:
        return image
    if short_id(image) == short_id(container["ImageID"]):
        return short_id(image)
    name, at, _ = image.partition("@")
    return name if at and ":" in name.rpartition("/")[2] else image


def _size(container: ContainerSummary) -> str:
    written = size(container.get("SizeRw") or 0, digits=3)
    if not (virtual := container.get("SizeRootFs")):
        return written
    return f"{written} (virtual {size(virtual, digits=3)})"


def _mounts(container: ContainerSummary, *, truncate: bool) -> str:
    names = [mount.get("Name") or mount.get("Source") or "" for mount in container["Mounts"]]
    return ",".join(ellipsis(name, 15) if truncate else name for name in names)


def displayed_ports(ports: list[PublishedPort]) -> str:
    """Return the PORTS column; adjacent ports become a range."""
    groups: dict[str, list[int]] = {}
    finished, others = [], []
    order = sorted(
        ports,
        key=lambda p: (p["PrivatePort"], p.get("IP", ""), p.get("PublicPort", 0), p["Type"]),
    )
    for port in order:
        number, address = port["PrivatePort"], port.get("IP", "")
        if address and port.get("PublicPort", 0) != number:
            others.append(f"{address}:{port.get('PublicPort', 0)}->{number}/{port['Type']}")
            continue
        key = f"{address}/{port['Type']}" if address else port["Type"]
        group = groups.get(key)
        if group is None:
            groups[key] = [number, number]
        elif number == group[1] + 1:
            group[1] = number
        else:
            finished.append(_group(key, *group))
            groups[key] = [number, number]
    finished += [_group(key, *group) for key, group in groups.items()]
    return ", ".join(finished + others)


def _group(key: str, first: int, last: int) -> str:
    address, _, protocol = key.rpartition("/")
    numbers = str(first) if first == last else f"{first}-{last}"
    return f"{address}:{numbers}->{numbers}/{protocol}" if address else f"{numbers}/{protocol}"
