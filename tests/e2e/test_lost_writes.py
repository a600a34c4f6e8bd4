"""A power cut on a disk that loses its cache, and one that reorders what it had in it.

The store is on a device that logs its writes (support/log_writes.py). Commands run on it, one after
the other, with a mark in the log before and after each. Then the disk is put together as it was at
a moment, mounted in the store's place (which replays the file system's journal), and asked:

    at the end of a command    what it said it has made is there, and whole
    at any moment              what is being made, or removed, is there and whole, or not there;
                               all else is as it was; nothing is damaged; `system check --repair`
                               leaves nothing behind, and after it a container runs

Moments are each flush, each FUA write and each mark (`barriers`), and between two of them a part of
the writes in any order (`torn`). In one history the file system's journal is only committed where
minidock asks for it. In the other one somebody else commits it all the time, by fsync of a file
that is not minidock's: so that names are on the disk whose data are not.

Not promised, and not asked for: what containers write into their own layers and volumes.

test_power_cut.py does the same without a device: it sees what was never handed to the disk.
Sources: ext4(5), "commit="; the kernel's block/writeback_cache_control.rst.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import random
import re
import stat
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.image import archive
from minidock.paths import Store
from support import machine, stores
from support.command import Minidock, command_line, environment
from support.log_writes import History, LoggedDisk, Moment, neighbour, why_not
from support.patience import is_slow, long, patience, steps

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600)]

DOCKERFILE = """FROM busybox
RUN dd if=/dev/urandom of=/file bs=64k count=10 && mkdir /data && echo kept > /data/file
RUN rm /bin/vi && echo other > /other
"""
AT_STAKE = (
    ("run --name box -v kept:/k busybox sh -c 'echo mine > /mine; exit 3'", ""),
    ("commit box mine", ""),
    ("build -q -t built -", DOCKERFILE),
    ("load -q -i {tar}", ""),
    ("rm box", ""),
)
COMMANDS = long(
    AT_STAKE,
    (
        ("volume create kept", ""),
        ("network create net", ""),
        *AT_STAKE[:3],
        ("create --name filled -v taken:/data built true", ""),
        AT_STAKE[3],
        ("tag mine other", ""),
        ("run -d --name up --network none busybox sleep 600", ""),
        ("rename box boxed", ""),
        ("stop -t 0 up", ""),
        ("run --rm --network none busybox sh -c 'echo x > /x'", ""),
        ("rm up", ""),
        ("rm -f boxed", ""),
        ("rmi mine", ""),
        ("rmi other", ""),
        ("volume rm kept", ""),
        ("network rm net", ""),
    ),
)
FIRST = (("load -q -i {tar}", ""),)
LISTS = (
    ("ps", "-a", "--no-trunc", "--format", "{{.ID}}"),
    ("images", "-aq", "--no-trunc"),
    ("volume", "ls", "-q"),
    ("network", "ls", "--format", "{{.Name}}"),
)
ALWAYS_THERE = {"bridge", "host", "none"}
OF_A_CONTAINER = ("Id", "Name", "Image", "Created", "Path", "Args", "Config", "HostConfig")
OF_AN_IMAGE = ("Id", "Created", "Config", "Architecture", "Os", "RootFS")
OF_A_NETWORK = ("Id", "Name", "Created", "Driver", "IPAM", "Options", "Labels")

View = dict[str, Any]
"""What there is of a store, by name: "container box", "image mine:latest", "volume kept"; and what
of it may change by itself: "end of box", "data of taken"."""
CHANGING = ("end of", "data of")


class Recording:
    """What the commands did, and the disk's history meanwhile.

    commands: each with its standard input; tar: of an image, for `load`. views: of the store before
    and after each command that is looked at; by the number of the command that came next.
    """

    def __init__(
        self, disk: LoggedDisk, tar: Path, commands: Sequence[tuple[str, str]] = COMMANDS
    ) -> None:
        self.disk, self._tar, self.commands = disk, tar, commands
        self.store = Store(str(disk.path / "minidock"))
        self.minidock = Minidock(self.store.root)
        self.views: dict[int, View] = {}

    def record(self, chosen: Sequence[int], *, has_neighbour: bool) -> None:
        """Run all commands up to the last chosen one, and take the disk away."""
        wanted = {*chosen, *(number + 1 for number in chosen)}
        self.disk.start_log()
        file = self.disk.path / "neighbour"
        with _neighbour_at_work(file) if has_neighbour else contextlib.nullcontext():
            for number, (words, stdin) in enumerate(self.commands[: chosen[-1] + 1]):
                if number in wanted:
                    self.views.setdefault(number, view(self.store))
                self.disk.mark(f"begin-{number}")
                self._run(words, stdin)
                self.disk.mark(f"end-{number}")
                if number + 1 in wanted:
                    self.views[number + 1] = view(self.store)
        stores.reboot(self.store)
        self.disk.end_log()
        self.history = History(self.disk.base, self.disk.log)

    def _run(self, words: str, stdin: str) -> None:
        line = " ".join([*command_line(), words.format(tar=self._tar)])
        done = subprocess.run(
            ["sh", "-c", line], input=stdin, text=True, capture_output=True,
            env=environment(self.store.root), timeout=patience(60),
        )  # fmt: skip
        assert done.returncode == (3 if "exit 3" in words else 0), (words, done.stderr)

    def window(self, number: int) -> tuple[int, int]:
        """The entries that a command is about: up to its beginning, and up to its end."""
        return self.history.mark(f"begin-{number}"), self.history.mark(f"end-{number}")

    def expect(self, moment: Moment, number: int, *, at_end: bool) -> None:
        """Hold the disk, as it was at a moment of a command, against what may be there."""
        words = self.commands[number][0]
        said = f"{self.disk.kind}, {words!r}, {moment}"
        self.history.copy_at(moment, self.disk.copy)
        self.disk.mount(self.disk.copy)
        try:
            found = view(self.store, said)
            expect_no_damage(self.minidock, said)
            self._expect_allowed(found, number, said, at_end=at_end)
            if at_end:
                expect_digests(self.minidock, found, said)
            expect_repaired(self.minidock, said)
            expect_readable(self.minidock, found, said)
            expect_use(self.minidock, found, said)
            if at_end:
                said += ", repaired"
                self._expect_allowed(view(self.store, said), number, said, at_end=True)
        finally:
            stores.reboot(self.store)
            self.disk.unmount()
        assert self.disk.check(self.disk.copy) == "", said

    def _expect_allowed(self, found: View, number: int, said: str, *, at_end: bool) -> None:
        before, after = self.views[number], self.views[number + 1]
        assert _ids(before) & _ids(after) <= _ids(found), f"{said}: found {sorted(found)}"
        for name in {*found, *before, *after}:
            value = found.get(name)
            if name in after and (at_end or before.get(name) == after[name]):
                allowed = [after[name]]
            elif name.startswith(CHANGING):
                continue
            else:
                allowed = [before.get(name), after.get(name)]
                if name not in after:  # nobody waits for a removal: it may be back, whole
                    allowed += [old.get(name) for n, old in self.views.items() if n < number]
            assert value in allowed, f"{said}: {name} is {value}, and not one of {allowed}"


@contextlib.contextmanager
def _neighbour_at_work(path: Path) -> Iterator[None]:
    """Somebody else commits the journal of the file system all the time, by a file of his own."""
    done = threading.Event()

    def work() -> None:
        for _ in neighbour(path):
            if done.wait(0.005):
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def view(store: Store, said: str = "live") -> View:
    """All that a store says of itself, and hashes of what is in its layers and volumes.

    Asserts that nobody complains, and that nothing is damaged.
    """
    minidock = Minidock(store.root)
    listed = {name for look in LISTS for name in _listed(minidock, look, said)}
    found: View = {}
    if not listed - ALWAYS_THERE:
        return found
    documents = json.loads(minidock.ok("inspect", *sorted(listed - ALWAYS_THERE)))
    trees = functools.cache(tree)  # images share layers
    for one in documents:
        if "State" in one:
            name = one["Name"].lstrip("/")
            found[f"container {name}"] = {key: one[key] for key in OF_A_CONTAINER}
            if one["State"]["Status"] == "exited":
                found[f"end of {name}"] = one["State"]["ExitCode"]
        elif "RootFS" in one:
            value = {key: one[key] for key in OF_AN_IMAGE}
            value["layers"] = [trees(path) for path in _layers(store, one["Id"])]
            for name in one["RepoTags"] or [one["Id"]]:
                found[f"image {name}"] = value
        elif "Mountpoint" in one:
            found[f"volume {one['Name']}"] = one
            if one["Name"] == "taken":
                found[f"data of {one['Name']}"] = tree(one["Mountpoint"])
        else:
            found[f"network {one['Name']}"] = {key: one[key] for key in OF_A_NETWORK}
    return found


def _ids(seen: View) -> set[str]:
    """Of containers, images and networks: each has one, whatever it is called."""
    return {one["Id"] for one in seen.values() if isinstance(one, dict) and "Id" in one}


def _listed(minidock: Minidock, look: tuple[str, ...], said: str) -> list[str]:
    answer = minidock(*look)
    assert answer.code == 0 and answer.stderr == "", f"{said}: {answer}"
    return answer.stdout.split()


def _layers(store: Store, image_id: str) -> list[str]:
    catalogue = json.loads(Path(store.images).read_text())
    return [f"{store.layer(chain)}/diff" for chain in catalogue["images"][image_id]["layers"]]


def tree(top: str) -> str:
    """A hash of a directory: names, kinds, owners, modes, attributes and content of all in it."""
    total = hashlib.sha256()
    contents: dict[int, str] = {}  # by inode: busybox has hundreds of links
    for path in sorted(Path(top).rglob("*")):
        seen = path.lstat()
        of_it: list[Any] = [str(path.relative_to(top)), seen.st_mode, seen.st_uid, seen.st_gid]
        of_it.append(seen.st_rdev)
        for name in sorted(os.listxattr(path, follow_symlinks=False)):
            of_it.append((name, os.getxattr(path, name, follow_symlinks=False)))
        if stat.S_ISREG(seen.st_mode):
            if seen.st_ino not in contents:
                contents[seen.st_ino] = hashlib.sha256(path.read_bytes()).hexdigest()
            of_it.append(contents[seen.st_ino])
        elif stat.S_ISLNK(seen.st_mode):
            of_it.append(os.readlink(path))
        total.update(repr(of_it).encode())
    return total.hexdigest()


def expect_no_damage(minidock: Minidock, said: str) -> None:
    """Nothing is damaged; what is left behind may be listed."""
    answer = minidock("system", "check")
    assert answer.code in (0, 1) and answer.stderr == "", f"{said}: {answer}"
    assert not re.search("(?m)^damaged ", answer.stdout), f"{said}: {answer}"


def expect_repaired(minidock: Minidock, said: str) -> None:
    """A repair has nothing to complain of, and leaves nothing behind."""
    for words in (("system", "check", "--repair"), ("system", "check")):
        answer = minidock(*words)
        assert answer.code == 0 and answer.stderr == "", f"{said}: {answer}"


def expect_readable(minidock: Minidock, found: View, said: str) -> None:
    """What nobody waits for (events, logs, journals) may be lost, and is not in anybody's way."""
    looks = [("events", "--since", "1", "--until", str(int(time.time())))]
    for name in [name.split()[1] for name in found if name.startswith("container ")]:
        looks += [("logs", name), ("explain", name)]
    for look in looks:
        answer = minidock(*look)
        codes = (0, 1) if look[0] == "explain" else (0,)  # a lost journal tells nothing
        assert answer.code in codes, f"{said}: {answer}"
        assert "Traceback" not in answer.stderr, f"{said}: {answer}"


def expect_use(minidock: Minidock, found: View, said: str) -> None:
    """A container of the image that is there runs, by a name that nobody has; nothing stays."""
    if "image busybox:latest" not in found:
        return
    named = [] if "container box" in found else ["--name", "box"]
    answer = minidock("run", "--rm", *named, "--network", "none", "busybox", "echo", "it runs")
    assert (answer.code, answer.stdout, answer.stderr) == (0, "it runs\n", ""), f"{said}: {answer}"
    answer = minidock("system", "check")
    assert answer.code == 0 and answer.stderr == "", f"{said}, after a run: {answer}"


def expect_digests(minidock: Minidock, found: View, said: str) -> None:
    """Each image can be saved, and each blob of it is what its digest says."""
    for name in {value["Id"] for key, value in found.items() if key.startswith("image ")}:
        file = Path(minidock.root).parent.parent / "saved.tar"
        minidock.ok("save", "-o", str(file), name)
        with tarfile.open(file) as tar:
            blobs = [member for member in tar if member.name.startswith("blobs/sha256/")]
            for member in blobs:
                if member.isfile():
                    content = tar.extractfile(member)
                    assert content is not None
                    digest = hashlib.sha256(content.read()).hexdigest()
                    assert digest == os.path.basename(member.name), f"{said}: {name}"
        assert blobs, f"{said}: {name} has no blobs"
        file.unlink()


# The disposable machine, and `make long` here, have xfs too.
DISKS = ("fuse-ext4", "dm-ext4", "dm-xfs", *long((), ("fuse-xfs",)))


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LoggedDisk]:
    logger, kind = request.param.split("-")
    if why := why_not(logger, kind):
        pytest.skip(f"this kernel has no {why}")
    made = LoggedDisk(tmp_path, logger, kind)
    yield made
    machine.unmount_below(str(made.path))
    made.end_log()


@pytest.fixture
def recording(disk: LoggedDisk, tmp_path: Path, busybox_tar: Path) -> Iterator[Recording]:
    made = Recording(disk, tmp_path / "loaded.tar")
    try:
        with open(busybox_tar, "rb") as tar:
            archive.import_rootfs(made.store, tar, "busybox:latest")
        _make_loaded(made.minidock, tmp_path / "loaded.tar")
        stores.reboot(made.store)
        yield made
    finally:
        stores.reboot(made.store)


def _make_loaded(minidock: Minidock, tar: Path) -> None:
    """An archive of an image with two layers that the store has not."""
    text = "FROM busybox\nRUN dd if=/dev/urandom of=/loaded bs=64k count=20\nRUN mkdir /l /l/m\n"
    minidock.ok("build", "-q", "-t", "loaded", "-", stdin=text)
    minidock.ok("save", "-o", str(tar), "loaded")
    minidock.ok("rmi", "loaded")
    minidock.ok("builder", "prune", "-af")


def _some(moments: list[Moment], part: int, chance: random.Random) -> list[Moment]:
    """As many of a command's moments as are looked at."""
    return chance.sample(moments, min(part, len(moments)))


def test_a_disk_that_loses_its_cache_has_what_was_synced_and_nothing_else(disk: LoggedDisk) -> None:
    """Of the tool itself: and all that was written, put together, is the disk."""
    disk.start_log()
    (disk.path / "synced").write_bytes(b"whole" * 20_000)
    subprocess.run(["sync", disk.path / "synced"], check=True)
    (disk.path / "cached").write_bytes(b"lost" * 20_000)
    disk.mark("cut")
    disk.end_log()
    history = History(disk.base, disk.log)
    history.copy_at(Moment(history.mark("cut")), disk.copy)
    disk.mount(disk.copy)
    assert (disk.path / "synced").read_bytes() == b"whole" * 20_000
    assert not (disk.path / "cached").exists()
    disk.unmount()
    history.copy_at(Moment(len(history.entries)), disk.copy)
    subprocess.run(["cmp", disk.file, disk.copy], check=True)


def test_an_unmount_waits_for_the_mount_namespaces_that_have_the_mount_too(
    disk: LoggedDisk,
) -> None:
    """Of the tool itself: XFS writes to its disk once more when the last of them ends."""
    line = "echo; exec sleep 1"
    with subprocess.Popen(["unshare", "-m", "sh", "-c", line], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.read(1) == b"\n"
        (disk.path / "file").write_text("written")
        disk.unmount()
        assert not os.path.exists(f"/proc/{holder.pid}/ns/mnt")
    assert disk.check(disk.file) == ""


def test_what_a_command_made_is_on_a_disk_that_loses_its_cache(recording: Recording) -> None:
    chance = random.Random(5)
    chosen = steps(range(len(COMMANDS)), "ends")[:: long(3, 1)]
    recording.record(chosen, has_neighbour=False)
    part = 0 if is_slow() else 1  # of what the next test looks at more closely
    for number in chosen:
        begin, end = recording.window(number)
        within = recording.history.barriers(begin, end - 1)
        for moment in sorted(_some(within, long(part, len(within)), chance), key=Moment.when):
            recording.expect(moment, number, at_end=False)
        recording.expect(Moment(end), number, at_end=True)


def test_a_cut_at_any_moment_damages_nothing(recording: Recording) -> None:
    """Between two flushes a disk may have written some of what it was given, and not the rest."""
    chance = random.Random(6)
    chosen = steps(range(len(COMMANDS)), "cuts")[:: long(6, 1)]
    recording.record(chosen, has_neighbour=True)
    for number in chosen:
        begin, end = recording.window(number)
        moments = _some(recording.history.barriers(begin, end), long(1, 10), chance)
        moments += _some(recording.history.torn(begin, end, chance), long(1, 10), chance)
        for moment in sorted(moments, key=Moment.when):
            recording.expect(moment, number, at_end=False)


def test_the_first_command_of_a_store_damages_nothing_either(
    disk: LoggedDisk, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """The store's own directories are as new as what the command makes in them."""
    minidock.ok("save", "-o", f"{tmp_path}/first.tar", busybox_image)
    made = Recording(disk, tmp_path / "first.tar", FIRST)
    made.record([0], has_neighbour=False)
    begin, end = made.window(0)
    moments = [Moment(begin), *made.history.barriers(begin, end - 1)]
    for moment in moments[:: long(8, 1)]:
        made.expect(moment, 0, at_end=False)
    made.expect(Moment(end), 0, at_end=True)
