"""The subject of `explain`: a container's run or another story, each with its own journal.

    explain NAME                the last run of a container
    explain NAME --exec ID      a process that `exec` started; `last` for the last one
    explain NAME --health       the last probe of its health check
    explain NAME --cp           the last copy into it or out of it
    explain --build             the last build
    explain --network NAME      a network: its creation, containers that joined and left

The files of the journals: engine/store/stories.py.
"""

from __future__ import annotations

from minidock.document import is_cut_off, parse, read_bytes
from minidock.engine.store.timestamps import NEVER
from minidock.errors import DamagedFile, NotFound
from minidock.teach.journal_reader import JournalEntry, JournalReader, load_ops

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from minidock.document import Shape
    from minidock.engine.container.containers import Container
    from minidock.kernel.record import Begin, End
    from minidock.paths import Store


def _is_number(value: object) -> bool:
    """Whether a value is an integer of 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


# The shapes of kernel/record.py; earlier versions had other tags.
_BEGIN: Shape = {
    "id": str, "begin": _is_number, "actor": str, "pid": _is_number, "t": _is_number, "op": str,
    "args": dict, "isolation?": [str], "phase": str, "line": _is_number, "wait?": bool,
    "story?": str,
}  # fmt: skip
_END: Shape = {
    "id": str, "end": _is_number, "actor": str, "pid": _is_number, "us": _is_number,
    "errno?": _is_number, "said?": str, "hint?": str,
}  # fmt: skip


class Subject:
    """The subject of an explanation.

    title: its first line. paths: long path -> its variable. ops: the journal entries.
    container: set for a container's run, to report how it ended. arguments: those of `explain`
    that select this subject. is_plan: whether nothing of it was done.
    """

    def __init__(
        self,
        title: str,
        paths: dict[str, str],
        ops: list[JournalEntry],
        container: Container | None = None,
        *,
        arguments: tuple[str, ...] = (),
        is_plan: bool = False,
    ) -> None:
        self.title = title
        self.paths = paths
        self.ops = ops
        self.container = container
        self.arguments = arguments
        self.is_plan = is_plan


def run_of(container: Container) -> Subject:
    """A container's last run. Raises NotFound if it was never started, DamagedFile."""
    ops = read_ops(container.paths.journal, lambda story: True)
    if not ops and container.state["StartedAt"] != NEVER:
        raise DamagedFile(
            container.paths.journal,
            "the records of the last run are lost",
            hint=f"minidock start {container.name}     writes a new one",
        )
    if not ops:
        raise NotFound(
            f"container {container.name} has no journal: it was never started",
            hint=f"minidock start {container.name}",
        )
    names = (container.name,)
    return Subject(title_of(container), paths_of(container), ops, container, arguments=names)


def exec_of(container: Container, wanted: str) -> Subject:
    """A process that `exec` started. wanted: its id, a prefix of it, or "last"."""
    path = container.paths.exec_journal
    stories = _stories(path)
    if wanted != "last":
        stories = [story for story in stories if story.startswith(f"exec {wanted}")]
    if not stories:
        known = ", ".join(story.partition(" ")[2] for story in _stories(path)[-5:])
        raise NotFound(
            f"container {container.name} has no exec {wanted} in its journal",
            hint=f"the last ones: {known}" if known else f"minidock exec {container.name} …",
        )
    found = stories[-1]
    return _story_of(container, path, found, "--exec", found.partition(" ")[2][:12])


def health_of(container: Container) -> Subject:
    """The last probe of a container's health check."""
    path = container.paths.health_journal
    if not (stories := _stories(path)):
        raise NotFound(
            f"container {container.name} has not run a health check",
            hint="minidock run --health-cmd …, and wait for its first interval",
        )
    return _story_of(container, path, stories[-1], "--health")


def copy_of(container: Container) -> Subject:
    """The last copy into a container or out of it."""
    path = container.paths.copy_journal
    if not (stories := _stories(path)):
        raise NotFound(
            f"container {container.name} has no journal of a copy",
            hint=f"minidock cp FILE {container.name}:/",
        )
    return _story_of(container, path, stories[-1], "--cp")


def build_of(store: Store) -> Subject:
    """The last build that performed operations. Raises NotFound if there is none."""
    path = store.build_journal
    if not (stories := _stories(path)):
        raise NotFound(
            "no build has made a layer in this store",
            hint="minidock build .; cached steps perform no operations",
        )
    ops = read_ops(path, lambda story: _key(story) == stories[-1])
    paths = {store.root: "$STORE", store.run: "$RUN"}
    return Subject(stories[-1], paths, ops, arguments=("--build",))


def network_of(store: Store, name: str) -> Subject:
    """A user-defined network's journal. Raises NotFound for any other."""
    from minidock.engine.network.lookup import find

    network = str(find(store, name)["Name"])
    ops = read_ops(store.network_journal(network), lambda story: True)
    if not ops:
        raise NotFound(
            f"network {network} has no journal",
            hint="the first container on a predefined network creates it: "
            "minidock explain --unfold net CONTAINER",
        )
    paths = {store.root: "$STORE", store.run: "$RUN"}
    return Subject(f"network {network}", paths, ops, arguments=("--network", network))


def title_of(container: Container) -> str:
    """The title of a container's story."""
    return f"{container.name}: {container.document['Path']} · {container.config['Image']}"


def paths_of(container: Container) -> dict[str, str]:
    """The long paths of a container's story and their variables, longer paths first."""
    return {
        container.paths.home: "$C",
        container.paths.run: "$RUN",
        container.store.root: "$STORE",
        container.id: "$ID",
    }


def _story_of(container: Container, path: str, wanted: str, *flags: str) -> Subject:
    """A story of a container's journal. flags: those of `explain` that select it."""
    ops = read_ops(path, lambda story: _key(story) == wanted)
    title, arguments = f"{title_of(container)} · {wanted}", (*flags, container.name)
    return Subject(title, paths_of(container), ops, arguments=arguments)


def read_ops(path: str, is_wanted: Callable[[str], bool]) -> list[JournalEntry]:
    """Read the entries of a journal. is_wanted: selects records by their story.

    Raises DamagedFile.
    """
    load_ops()
    reader = JournalReader()
    wanted: set[str] = set()  # ids, since an end record has no story
    found = []
    for record, line in _records(path):
        try:
            if "begin" in record and is_wanted(record.get("story", "")):
                wanted.add(record.get("id", ""))
            if record.get("id", "") in wanted:
                found += reader.read(line)
        except (ValueError, LookupError, TypeError) as error:
            raise _damaged(path, error) from None
    return found + reader.unfinished()


def _stories(path: str) -> list[str]:
    """The stories of a journal in order, as the first two words of each record's story."""
    keys = (_key(str(record.get("story", ""))) for record, _ in _records(path))
    return list(dict.fromkeys(key for key in keys if key))


def _key(story: str) -> str:
    return " ".join(story.split()[:2])


def _records(path: str) -> Iterator[tuple[Begin | End, str]]:
    """The records of a rotated journal, then those of the current one."""
    for each in (f"{path}.1", path):
        try:
            whole = [line for line in read_bytes(each).split(b"\n") if not is_cut_off(line)]
        except FileNotFoundError:
            continue
        lines = [line for line in whole if line]
        if lines and not lines[-1].endswith(b"}"):
            lines.pop()  # the disk was full, or a process is writing it now
        for line in lines:
            record = parse(line, each, {})
            parse(line, each, _BEGIN if "begin" in record else _END)
            yield record, line.decode(errors="replace")


def _damaged(path: str, error: Exception) -> DamagedFile:
    return DamagedFile(path, f"a line is not a journal record: {error}")
