"""One damaged file harms nothing else: every kind of document, damaged in every way.

A store has a container that runs ("whole"), one that has ended ("victim"), one more that runs
("busy"), volumes, a network, an image, a cached build step and a set-up of a lab. One document
after the other is truncated, emptied, filled with garbage or JSON of another shape, removed, or has
something else in its place; then commands are run. Each must end soon, without a traceback, must
still tell of all that is whole, and somebody must say which file is damaged and how to repair it.

Each damage of each document meets two commands, others each time; with MINIDOCK_LONG=1, all. A
command is a fork of this process, which spares it the start of an interpreter.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.cli import main
from minidock.paths import Store
from support import machine
from support.command import Minidock, Result
from support.patience import patience, steps

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]

LONG = bool(os.environ.get("MINIDOCK_LONG"))
SECONDS = 5


class Scene:
    """The store's things by name, and where their documents are."""

    def __init__(self, store: Store, minidock: Minidock) -> None:
        self.store, self.minidock = store, minidock
        flags = ("-d", "--network", "net", "-v", "kept:/kept")
        minidock.ok("network", "create", "net")
        self.whole = minidock.ok("run", *flags, "--name", "whole", "busybox", "sleep", "9000")
        minidock.ok(
            "exec", "whole", "sh", "-c", "echo precious > /kept/file; echo said > /dev/null"
        )
        self.busy = minidock.ok("run", "-d", "--name", "busy", "busybox", "sleep", "9000")
        # The victim has a volume, a network, an image and writes of its own.
        minidock.ok("volume", "create", "lone")
        minidock.ok("network", "create", "aside")
        minidock.ok("run", "--name", "victim", "-v", "lone:/lone", "--restart", "on-failure:1",
                    "--network", "aside", "busybox", "sh", "-c",
                    "echo heard; echo mine > /mine; echo data > /lone/data")  # fmt: skip
        self.victim = minidock.ok("inspect", "-f", "{{.Id}}", "victim")
        self.image = minidock.ok("inspect", "-f", "{{.Image}}", "victim")
        minidock.ok(
            "build", "-q", "-t", "built", "-", stdin="FROM busybox\nRUN echo step > /step\n"
        )
        self.built = minidock.ok("image", "inspect", "-f", "{{.Id}}", "built")
        victim = store.container(self.victim)
        Path(victim.manually_stopped).touch()
        os.makedirs(store.lab)
        Path(f"{store.lab}/fault.json").write_text('{"seed": "1", "kept": {}, "hints": 0}')
        catalogue = json.loads(Path(store.images).read_text())
        layer = catalogue["images"][self.built]["layers"][-1]
        (step,) = os.listdir(store.build_steps)
        self.documents = {
            "container.json": victim.document,
            "config.json": victim.config,
            "log.json": victim.log,
            "journal.jsonl": victim.journal,
            "exec.jsonl": store.container(self.whole).exec_journal,
            "build journal": store.build_journal,
            "network journal": store.network_journal("net"),
            "lock": victim.lock,
            "monitor.lock": victim.monitor_lock,
            "manually-stopped": victim.manually_stopped,
            "state.json": store.container(self.busy).state,
            "a running container.json": store.container(self.busy).document,
            "network": store.network("aside"),
            "default network": store.network("bridge"),
            "volume.json": f"{store.volume('lone')}/volume.json",
            "images.json": store.images,
            "image config": store.blob(self.built),
            "layer.json": f"{store.layer(layer)}/layer.json",
            "build step": f"{store.build_steps}/{step}",
            "events.jsonl": store.events,
            "fault.json": f"{store.lab}/fault.json",
        }


def _replaced(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)
    path.chmod(0o600)


def _sparse(path: Path) -> None:
    _replaced(path, b"{")
    os.truncate(path, 1 << 40)


def _put(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        path.unlink()
        make(path)

    return act


DAMAGES: dict[str, Callable[[Path], None]] = {
    "empty": lambda path: _replaced(path, b""),
    "first byte": lambda path: _replaced(path, path.read_bytes()[:1]),
    "half": lambda path: _replaced(path, path.read_bytes()[: path.stat().st_size // 2]),
    "but the end": lambda path: _replaced(path, path.read_bytes().rstrip()[:-1]),
    "garbage": lambda path: _replaced(path, b"\xff\xfe\x00garbage\n" * 5),
    "zeros": lambda path: _replaced(path, bytes(path.stat().st_size)),
    "a list": lambda path: _replaced(path, b"[]\n"),
    "a number": lambda path: _replaced(path, b"7\n"),
    "no key": lambda path: _replaced(path, b'{"other": 1}\n'),
    "nested": lambda path: _replaced(path, b"[" * 200_000),
    "huge": _sparse,
    "removed": lambda path: path.unlink(),
    "a directory": _put(lambda path: path.mkdir()),
    "a FIFO": _put(lambda path: os.mkfifo(path)),
    "a link": _put(lambda path: path.symlink_to("/nowhere")),
}
# Files that may be empty, missing, or have any content.
HARMLESS = {
    "lock": {"empty", "first byte", "half", "but the end", "garbage", "zeros", "a list", "a number",
             "no key", "nested", "huge", "removed"},
    # Their last line may be cut off; which lines of a log are damaged, `logs` says.
    "log.json": set(DAMAGES) - {"a directory", "a FIFO", "a link"},
    "journal.jsonl": {"empty", "removed", "first byte", "half", "but the end", "zeros", "nested"},
    "events.jsonl": {"empty", "removed", "first byte", "half", "but the end", "zeros", "nested"},
    "build step": {"removed"},
    "fault.json": {"removed"},
    "config.json": set(DAMAGES) - {"a directory", "a FIFO", "a link"},
}  # fmt: skip
for journal in ("exec.jsonl", "build journal", "network journal"):
    HARMLESS[journal] = HARMLESS["journal.jsonl"]
HARMLESS["monitor.lock"] = HARMLESS["lock"]
HARMLESS["manually-stopped"] = HARMLESS["lock"]
HARMLESS["default network"] = {"removed"}  # recreated at its next use
HARMLESS["network"] = {"removed"}  # as `network rm` does
HARMLESS["a running container.json"] = {"removed"}

COMMANDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("ps", "-a", "--format", "{{.Names}}"), ("whole",)),
    (("images", "--format", "{{.Repository}}"), ("busybox",)),
    (("volume", "ls", "-q"), ("kept",)),
    (("network", "ls", "--format", "{{.Name}}"), ("net", "host")),
    (("system", "df"), ("Containers", "Local Volumes")),
    (("system", "df", "-v"), ("whole", "kept")),
    (("system", "check"), ()),
    (("events", "--since", "1h", "--until", "0s"), ()),
    (("stats", "--no-stream", "--format", "{{.Name}}"), ("whole",)),
    (("inspect", "-f", "{{.Name}}", "whole"), ("/whole",)),
    (("exec", "whole", "cat", "/kept/file"), ("precious",)),
    (("logs", "whole"), ()),
    (("ps", "-as", "--filter", "network=net"), ("whole",)),
    (("system", "info"), ("Containers",)),
    (("run", "--rm", "--network", "net", "-v", "kept:/k", "busybox", "cat", "/k/file"),
     ("precious",)),
    (("inspect", "victim"), ()),
    (("logs", "victim"), ()),
    (("explain", "victim"), ()),
    (("volume", "rm", "lone"), ()),
    (("network", "inspect", "net"), ("whole",)),
    (("image", "history", "busybox"), ()),
    (("image", "prune", "-f"), ()),
    (("volume", "prune", "-f"), ()),
    (("builder", "prune", "-f", "--filter", "until=1h"), ()),
)  # fmt: skip
# What needs the very document: exit code 1 or 125, and the message names the file.
NEED = {
    "container.json": {
        "inspect victim",
        "logs victim",
        "explain victim",
        "image prune",
        "volume prune",
    },
    "a running container.json": {"image prune", "volume prune"},
    "volume.json": {"volume rm"},
    "monitor.lock": {"inspect victim", "logs victim", "explain victim"},
    "image config": {"image prune"},
    "config.json": set(),
    "log.json": {"logs victim"},
    "journal.jsonl": {"explain victim"},
    "images.json": {"images", "run", "image", "builder"},
    "build step": {"builder prune"},
    "state.json": set(),
}
REFUSE = {"volume rm"}  # the victim uses it


def _words(arguments: tuple[str, ...]) -> str:
    return " ".join(arguments)


def _forked(*arguments: str) -> Result:
    """Run a command line in a child of ours; one that hangs is ended by SIGALRM."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(patience(SECONDS)))
                os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout = open(1, "w", closefd=False)
                sys.stderr = open(2, "w", closefd=False)
                code = main.run(list(arguments))
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        out.seek(0)
        err.seek(0)
        told = [file.read().decode("utf-8", "replace") for file in (out, err)]
    return Result(arguments, os.waitstatus_to_exitcode(status), *told)


def _check(kind: str, damage: str, path: str, wanted: tuple[str, ...], result: Result) -> None:
    said = f"{kind}, {damage}: {result}"
    assert "Traceback" not in result.stderr and result.code >= 0, said
    words = _words(result.arguments)
    if words.startswith("system check"):
        harmless = damage in HARMLESS.get(kind, ())
        assert harmless or (result.code == 1 and path in result.stdout), said
        return
    needs = any(words.startswith(start) for start in NEED.get(kind, ()))
    refuses = any(words.startswith(start) for start in REFUSE)
    if result.code and (needs or refuses):
        assert result.code in (1, 125), said
        named = path in result.stderr and "hint: " in result.stderr
        assert named or refuses, said
        return
    assert result.code == 0 and not refuses, said
    assert all(word in result.stdout for word in wanted), said


def _put_back(path: str, saved: Path) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
    subprocess.run(["cp", "-a", str(saved), path], check=True)
    Path(f"{path}.1").unlink(missing_ok=True)  # as what is too long is called


@pytest.fixture
def scene(store: Store, minidock: Minidock, busybox_image: str) -> Iterator[Scene]:
    made = Scene(store, minidock)
    yield made
    shutil.rmtree(store.lab, ignore_errors=True)
    left = [
        i for i in (made.whole, made.busy, made.victim) if os.path.isdir(store.container(i).home)
    ]
    minidock.ok("rm", "-f", *left)


def test_no_damaged_file_breaks_a_command(scene: Scene, tmp_path: Path) -> None:
    turn, failures = 0, []
    saved = tmp_path / "saved"
    for kind, path in scene.documents.items():
        for damage, act in DAMAGES.items():
            subprocess.run(["cp", "-a", path, saved], check=True)
            act(Path(path))
            for _ in COMMANDS if LONG else range(2):
                arguments, wanted = COMMANDS[turn % len(COMMANDS)]
                turn += 1
                try:
                    _check(kind, damage, path, wanted, _forked(*arguments))
                except AssertionError as error:
                    failures.append(str(error).partition("\nassert")[0])
            _put_back(path, saved)
    assert not failures, f"{len(failures)} of {turn}:\n" + "\n\n".join(failures)


def _places(value: object, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Each key of an object within a document, by the way that leads to it."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield (*place, key)
            yield from _places(inside, (*place, key))
    if isinstance(value, list):
        for number, inside in enumerate(value[:2]):
            yield from _places(inside, (*place, number))


def _without(text: str, place: tuple[str | int, ...]) -> str:
    document = json.loads(text)
    inside = document
    for key in place[:-1]:
        inside = inside[key]
    del inside[place[-1]]
    return json.dumps(document)


def test_no_missing_field_breaks_a_command(scene: Scene) -> None:
    """A field that a command needs is missed where the document is read, or not at all."""
    flags = ("--mount", "type=tmpfs,dst=/t", "-v", f"{os.getcwd()}:/b:ro", "-p", "127.0.0.1::80")
    scene.minidock.ok("run", "--name", "other", *flags, "busybox", "true")
    other = scene.minidock.ok("inspect", "-f", "{{.Id}}", "other")
    documents = {
        **{kind: path for kind, path in scene.documents.items() if path.endswith(".json")},
        "container.json with mounts": scene.store.container(other).document,
        "image config": scene.documents["image config"],
        "build step": scene.documents["build step"],
        "network": scene.documents["network"],
    }
    commands = [words for words, _ in COMMANDS if "prune" not in words]
    commands += [("inspect", "other"), ("port", "other"), ("start", "other"), ("diff", "other"),
                 ("start", "victim"), ("cp", "other:/etc/passwd", "-")]  # fmt: skip
    turn, failures = 0, []
    for kind, path in documents.items():
        if kind in ("log.json", "config.json"):
            continue
        text = Path(path).read_text()
        for place in steps([*_places(json.loads(text))], kind, apart=6):
            _replaced(Path(path), _without(text, place).encode())
            for _ in commands if LONG else range(1):
                result = _forked(*commands[turn % len(commands)])
                turn += 1
                if "Traceback" in result.stderr or result.code < 0:
                    failures.append(f"{kind} without {place}: {result}")
            _replaced(Path(path), text.encode())
    scene.minidock.ok("rm", "-f", "other")
    assert turn > 80
    assert not failures, f"{len(failures)} of {turn}:\n" + "\n\n".join(failures)


def test_rm_removes_a_container_whose_documents_are_damaged(scene: Scene) -> None:
    """By its name and by its id; one that runs loses its processes, mounts and cgroup, too."""
    store, minidock = scene.store, scene.minidock
    victim, busy = store.container(scene.victim), store.container(scene.busy)
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "busy")
    for path in (victim.document, victim.config, busy.document, busy.state, busy.config):
        DAMAGES["half"](Path(path))
    DAMAGES["a FIFO"](Path(busy.log))
    refused = minidock("rm", "victim")
    assert refused.code == 1 and "rm -f victim" in refused.stderr, str(refused)
    minidock.ok("rm", "-f", "victim")
    first = os.pidfd_open(int(pid))
    minidock.ok("rm", "-f", scene.busy[:12])
    # Its number may live on as a zombie's: without its monitor, the machine's PID 1 reaps it.
    assert select.select([first], [], [], patience(1))[0], "its first process lives"
    os.close(first)
    for trace in (scene.busy, scene.victim):
        assert trace not in Path("/proc/self/mountinfo").read_text()
        assert not [c for c in machine.cgroups() if trace in c]
        assert not os.path.exists(f"{store.containers}/{trace}")
        assert not os.path.exists(f"{store.run}/{trace}")
    assert minidock.ok("ps", "-a", "--format", "{{.Names}}") == "whole"
    assert minidock.ok("exec", "whole", "cat", "/kept/file") == "precious"
    assert sorted(os.listdir(store.names)) == ["whole"]
    assert Path(f"{store.volume('lone')}/_data/data").read_text() == "data\n"


def test_what_a_power_cut_may_take_is_no_damage(scene: Scene) -> None:
    """Blocks that were not written read as NULs; what comes after them counts again."""
    minidock, victim = scene.minidock, scene.store.container(scene.victim)
    DAMAGES["empty"](Path(victim.config))
    for path in (victim.journal, victim.log, scene.store.events):
        with open(path, "ab") as file:
            file.write(bytes(99) + b'b":1}\n{"log":"cut' + bytes(99))
    for _ in range(2):
        for words in ("system check", "explain victim", "logs victim", "events --until 0s"):
            said = minidock(*words.split())
            assert (said.code, said.stderr) == (0, ""), str(said)
        minidock.ok("start", "-a", "victim")
    assert minidock.ok("logs", "victim").splitlines() == ["heard"] * 3
    told = minidock.ok("events", "--until", "0s", "--filter", "container=victim")
    assert told.count(" container start ") == 3


def test_nothing_goes_that_a_damaged_document_may_use(scene: Scene) -> None:
    store, minidock = scene.store, scene.minidock
    victim = store.container(scene.victim).document
    DAMAGES["half"](Path(victim))
    layers, data = sorted(os.listdir(store.layers)), f"{store.volume('lone')}/_data/data"
    for words in ("volume prune -f -a", "image prune -f -a", "system prune -f -a --volumes"):
        minidock(*words.split())
    assert minidock("volume", "rm", "lone").code == 1
    assert sorted(os.listdir(store.layers)) == layers
    assert os.path.exists(data)
    assert os.path.exists(victim)


def test_repair_sets_aside_and_makes_again_what_it_can(scene: Scene) -> None:
    store, minidock = scene.store, scene.minidock
    names = ("container.json", "network", "volume.json", "images.json", "build step", "fault.json",
             "events.jsonl", "state.json")  # fmt: skip
    before = {}
    images = set(minidock.ok("images", "-aq", "--no-trunc").split())
    for name in names:
        path = Path(scene.documents[name])
        DAMAGES["garbage"](path)
        before[name] = path.read_bytes()
    checked = minidock("system", "check")
    assert checked.code == 1
    assert all(scene.documents[name] in checked.stdout for name in names), str(checked)
    repaired = minidock("system", "check", "--repair")
    assert repaired.code == 0, str(repaired)
    again = minidock("system", "check")
    assert again.code == 0, str(again)
    kept = [p.read_bytes() for p in Path(f"{store.root}/damaged").rglob("*") if p.is_file()]
    assert all(content in kept for name, content in before.items() if name != "state.json")
    assert any(b"mine\n" == content for content in kept), "what the container had written"
    assert Path(f"{store.volume('lone')}/_data/data").read_text() == "data\n"
    assert "lone" in minidock.ok("volume", "ls", "-q").split()
    assert set(minidock.ok("images", "-aq", "--no-trunc").split()) == images
    assert minidock.ok("exec", "busy", "echo", "here") == "here"
    minidock.ok("stop", "-t", "0", "busy")
    assert minidock.ok("exec", "whole", "cat", "/kept/file") == "precious"


def test_a_running_container_rewrites_its_damaged_document(scene: Scene) -> None:
    """Its monitor knows what is true of it. Until then a repair leaves it alone."""
    store, minidock = scene.store, scene.minidock
    path = Path(store.container(scene.busy).document)
    pid = minidock.ok("inspect", "-f", "{{.State.Pid}}", "busy")
    DAMAGES["half"](path)
    repaired = minidock("system", "check", "--repair")
    assert repaired.code == 1 and str(path) in repaired.stderr, str(repaired)
    os.kill(int(pid), signal.SIGKILL)
    deadline = time.monotonic() + patience(10)
    while minidock("inspect", "busy").code and time.monotonic() < deadline:
        time.sleep(0.05)
    assert minidock.ok("inspect", "-f", "{{.State.ExitCode}}", "busy") == "137"
