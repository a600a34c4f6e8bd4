"""`ps`: list containers, one per line."""

from __future__ import annotations

from _operator import gt, lt

from minidock.cli.flags.filters import (
    BadFilter,
    apply_filters,
    boolean,
    compared,
    filter_flag,
    has_label,
    matches_regexp,
)
from minidock.cli.frame.command import command
from minidock.cli.frame.pflag import INT, switch, value
from minidock.cli.output import container_row
from minidock.cli.output.table import format_flag, write_column, write_rows
from minidock.numerals import atoi
from minidock.paths import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from minidock.cli.flags.filters import Reader, Test
    from minidock.document_types.container import ContainerSummary
    from minidock.engine.container.containers import Container

_EMPTY_SUMMARY: ContainerSummary = {
    "Id": "", "Names": [], "Image": "", "ImageID": "", "Command": "", "Created": 0, "Ports": [],
    "Labels": {}, "State": "", "Status": "", "HostConfig": {}, "NetworkSettings": {"Networks": {}},
    "Mounts": [],
}  # fmt: skip
_STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
_HEALTH = ("none", "starting", "healthy", "unhealthy")


@command()
@switch("-a", "--all", help="Include stopped containers")
@filter_flag
@format_flag
@value(
    "-n",
    "--last",
    type=INT,
    default=-1,
    help="Show the last N created containers, in any state",
)
@switch("-l", "--latest", help="Show the last created container, in any state")
@switch("--no-trunc", help="Don't truncate output")
@switch("-q", "--quiet", help="Print only container IDs")
@switch("-s", "--size", help="Show the sizes of the containers' files")
def ps(
    arguments: tuple[str, ...],
    *,
    all: bool,
    filter: tuple[tuple[str, str], ...],
    format: str,
    last: int,
    latest: bool,
    no_trunc: bool,
    quiet: bool,
    size: bool,
) -> None:
    """List containers"""
    from minidock.engine.container.lookup import list_containers

    store = Store()
    containers = list_containers(store)
    count = 1 if latest else last
    shows_all = all or count > 0 or any(name in ("status", "exited") for name, _ in filter)
    if not shows_all:
        containers = [container for container in containers if container.running]
    images = _ImageNames(store)
    containers = apply_filters(containers, filter, _filters(store, images))
    containers = containers[:count] if count > 0 else containers
    _check_format(format)
    columns = (*container_row.COLUMNS, "Size") if size else container_row.COLUMNS
    rows = []
    for container in containers:
        entry = container_row.summary(container.document, images.shown(container))
        if size or ".Size" in format:
            entry["SizeRw"], entry["SizeRootFs"] = _sizes(store, container)
        rows.append(container_row.row(entry, truncate=not no_trunc))
    if quiet:
        write_column(rows, "ID")
    else:
        write_rows(rows, format=format, columns=columns, headings=container_row.HEADINGS)


def _check_format(format: str) -> None:
    """Refuse a template with an unknown field, even without containers."""
    if format not in ("", "table", "json"):
        from minidock.cli.output.row_format import check_against

        check_against(container_row.row(_EMPTY_SUMMARY, truncate=True), format)


class _ImageNames:
    """The current image of each name; reads the store once, on first use."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: dict[str, str] = {}
        self._families: dict[str, frozenset[str]] = {}

    def id_of(self, name: str) -> str:
        """Return the ID of the image of this name, or ""."""
        from minidock.document import report_skipped
        from minidock.engine.image.images import ImageStore
        from minidock.errors import DamagedFile, MinidockError

        if name not in self._ids:
            try:
                self._ids[name] = ImageStore(self._store).resolve(name).id
            except DamagedFile as error:
                report_skipped(error)
                self._ids[name] = ""
            except MinidockError:
                self._ids[name] = ""
        return self._ids[name]

    def family(self, name: str) -> frozenset[str]:
        """Return the IDs of the image of this name and of all its descendants."""
        if name not in self._families:
            from minidock.engine.image.images import ImageStore

            children: dict[str, list[str]] = {}
            for image in ImageStore(self._store).list() if self.id_of(name) else ():
                children.setdefault(image.parent, []).append(image.id)
            found, waiting = set(), [id for id in [self.id_of(name)] if id]
            while waiting:
                found.add(image_id := waiting.pop())
                waiting += children.get(image_id, [])
            self._families[name] = frozenset(found)
        return self._families[name]

    def shown(self, container: Container) -> str:
        """Return the image name of a container, or the image ID if the name has moved."""
        name: str = container.config["Image"]
        image_id: str = container.document["Image"]
        return name if self.id_of(name) == image_id else image_id


def _sizes(store: Store, container: Container) -> tuple[int, int]:
    from minidock.cli.output.sizes import container_sizes

    return container_sizes(store, container)


def _filters(store: Store, images: _ImageNames) -> dict[str, Reader[Container]]:
    """ps's filters."""
    return {
        "ancestor": lambda wanted: lambda c: c.document["Image"] in images.family(wanted),
        "before": lambda wanted: compared(lt, _created, _created(_find(store, wanted))),
        "exited": _exited,
        "expose": lambda wanted: _has_port("expose", wanted, _exposed_ports),
        "health": _has_health,
        "id": lambda wanted: (
            lambda c: wanted != "" and (c.id.startswith(wanted) or matches_regexp(wanted, c.id))
        ),
        "is-task": boolean("is-task", lambda c: False),  # no swarm, no tasks
        "label": lambda wanted: lambda c: has_label(c.config.get("Labels"), wanted),
        "name": lambda wanted: (
            lambda c: matches_regexp(wanted, c.name) or matches_regexp(wanted, f"/{c.name}")
        ),
        "network": lambda wanted: (
            lambda c: any(
                wanted and (wanted == name or endpoint["NetworkID"].startswith(wanted))
                for name, endpoint in c.document["NetworkSettings"]["Networks"].items()
            )
        ),
        "publish": lambda wanted: _has_port("publish", wanted, _host_ports),
        "since": lambda wanted: compared(gt, _created, _created(_find(store, wanted))),
        "status": _has_status,
        "volume": lambda wanted: (
            lambda c: any(
                wanted in (mount.get("Name"), mount["Source"], mount["Destination"])
                for mount in c.document["Mounts"]
            )
        ),
    }


def _find(store: Store, reference: str) -> Container:
    from minidock.engine.container.lookup import find

    return find(store, reference)


def _created(container: Container) -> str:
    return container.document["Created"]


def _exited(wanted: str) -> Test[Container]:
    try:
        code = atoi(wanted)
    except ValueError as error:
        raise BadFilter(f"invalid filter 'exited={wanted}': {error}") from None

    def test(container: Container) -> bool:
        has_run = not container.state["StartedAt"].startswith("0001-")  # Go's zero time: never
        return has_run and not container.running and bool(container.state["ExitCode"] == code)

    return test


def _has_status(wanted: str) -> Test[Container]:
    if wanted not in _STATES:
        raise BadFilter(
            f"invalid filter 'status={wanted}'", hint=f"supported values: {', '.join(_STATES)}"
        )
    return lambda c: bool(c.state["Status"] == wanted)


def _has_health(wanted: str) -> Test[Container]:
    if wanted not in _HEALTH:
        raise BadFilter(
            f"invalid filter 'health={wanted}'", hint=f"supported values: {', '.join(_HEALTH)}"
        )

    def has(container: Container) -> bool:
        health = container.state.get("Health")
        return wanted == (health["Status"] if health else "none")

    return has


def _host_ports(container: Container) -> dict[str, object]:
    """The host ports published for a container, as "8090/tcp"."""
    published = container.document["NetworkSettings"]["Ports"] or {}
    return {
        f"{binding['HostPort']}/{inside.partition('/')[2]}": binding
        for inside, bindings in published.items()
        for binding in bindings or []
    }


def _exposed_ports(container: Container) -> Mapping[str, object]:
    """The ports that a container's image or flags name, as "80/tcp"."""
    return container.document["NetworkSettings"]["Ports"] or {}


def _has_port(
    name: str, wanted: str, ports_of: Callable[[Container], Mapping[str, object]]
) -> Test[Container]:
    """Test whether a container has a port of a range; name: the filter's, for the error."""
    from minidock.cli.flags.units import port_range

    number, _, protocol = wanted.partition("/")
    try:
        start, end = port_range(number)
    except ValueError:
        raise BadFilter(f"invalid filter '{name}={wanted}'") from None
    accepted = [f"{port}/{protocol or 'tcp'}" for port in range(start, end + 1)]
    return lambda c: any(port in ports_of(c) for port in accepted)
