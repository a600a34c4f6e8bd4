"""Nothing that an image holds is executed by our own processes: no module, no library, no settings.

The image is full of Python modules that leave a trace when they are imported, at every place where
our interpreter looks for its own; and of FIFOs where the C library looks for its plug-ins, which
tell when somebody opens them.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minidock.engine.container.lookup import find
from minidock.paths import Store
from support import attack
from support.command import Minidock

pytestmark = pytest.mark.root

# Leaves its name in /report, without importing anything that is not there already.
POISON = """
import posix
_file = posix.open("/report/poisoned", posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND, 0o666)
posix.write(_file, (__name__ + "\\n").encode())
posix.close(_file)
"""
MODULES = (
    "traceback", "linecache", "tokenize", "token", "warnings", "json", "re", "colorsys", "pwd",
    "grp", "ctypes", "_ctypes", "struct", "_struct", "contextlib", "typing", "dataclasses", "enum",
    "collections", "functools", "operator", "locale", "codecs", "io", "os", "stat", "posixpath",
    "site", "sitecustomize", "usercustomize", "click", "minidock", "selectors", "select", "fcntl",
    "socket", "_socket", "subprocess", "_posixsubprocess", "signal", "threading", "logging", "time",
    "datetime", "stringprep", "unicodedata", "importlib", "resource", "termios", "zlib", "ast",
)  # fmt: skip
ENCODINGS = (
    "__init__",
    "idna",
    "aliases",
    "utf_8",
    "ascii",
    "latin_1",
    "punycode",
    "mbcs",
    "cp437",
)
PLUG_INS = (
    "etc/nsswitch.conf", "etc/ld.so.preload", "etc/ld.so.cache", "etc/localtime", "etc/host.conf",
    "etc/gai.conf", "usr/lib/locale/locale-archive", "usr/share/locale/locale.alias",
    *(
        f"usr/lib/{os.uname().machine}-linux-gnu/{name}"
        for name in (
            "libnss_files.so.2", "libnss_compat.so.2", "libgcc_s.so.1", "gconv/gconv-modules.cache",
        )
    ),
)  # fmt: skip

# A mistake such as somebody could make in our code: something is needed late.
LATE = """
def late():
    for name in ("traceback", "json", "colorsys"):
        import sys
        sys.modules.pop(name, None)
        __import__(name)
    "x".encode("idna")
"""
LATE_IN_INIT = (
    LATE
    + """
import minidock.runtime.process_config as p
enter_directory = p.enter_directory
def enter(path):
    enter_directory(path)
    late()
p.enter_directory = enter
"""
)
UNSEALED = """
import minidock.runtime.init as i, minidock.runtime.exec as e
i.seal_imports = e.seal_imports = lambda: None
"""
LATE_IN_LAYER = (
    LATE
    + """
import minidock.engine.image.tar_split as t
finish = t.TarSplitWriter.finish
def finish_late(self):
    finish(self)
    late()
t.TarSplitWriter.finish = finish_late
"""
)
TELLS_OF_POISON = """
import os
leave = os._exit
def tell(code):
    if os.path.exists("/report/poisoned"):
        os.write(2, b"poisoned: " + open("/report/poisoned", "rb").read())
    leave(code)
os._exit = tell
"""
UNSEALED_LAYER = """
import minidock.engine.image.unpack_child as u
from minidock.kernel.pivot_root import chroot
assert u.enter_chroot
u.enter_chroot = chroot
"""
ASKS_FOR_NAMES = """
import pwd
from minidock.kernel import process
set_user = process.set_user
def ask(uid, gid):
    try:
        pwd.getpwnam("nobody-at-all")
    except KeyError:
        pass
    set_user(uid, gid)
process.set_user = ask
"""


def _poisoned() -> attack.Rootfs:
    """busybox, and poison at every place of sys.path."""
    rootfs = attack.Rootfs().busybox().directory("report", mode=0o777)
    places = {str(attack.SOURCE), "/", *(p for p in sys.path if p.startswith("/"))}
    places |= {f"{sys.base_prefix}/lib/python3", os.path.dirname(os.__file__)}
    for place in sorted(places):
        if not os.path.isdir(place) and not place.endswith(".zip"):
            continue
        for name in (*MODULES, *(f"encodings/{name}" for name in ENCODINGS)):
            rootfs.file(f"{place}/{name}.py", POISON)
    rootfs.file("etc/passwd", "root:x:0:0::/:/bin/sh\nann:x:1000:1000::/:/bin/sh\n")
    rootfs.file("etc/group", "root:x:0:\nann:x:1000:\n")
    rootfs.file("bin/broken", "\x7fELF is what it is not", mode=0o755)
    return rootfs.file("bin/plain", "no program").file("a-file", "")


@pytest.fixture(scope="module")
def poisoned_tar() -> bytes:
    rootfs = _poisoned()
    for name in PLUG_INS:
        rootfs.fifo(name)
    return rootfs.bytes()


@pytest.fixture
def poisoned(minidock: Minidock, store: Store, poisoned_tar: bytes) -> str:
    minidock.ok("import", "-", "poisoned", stdin=poisoned_tar)
    return "poisoned"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    folder = tmp_path / "report"
    folder.mkdir(mode=0o777)
    return folder


FAILURES = {
    "command not found": ["nothing-of-that-name"],
    "odd name": ["\u2603\u00fc\udcff\n%s{x}\x1b"],
    "a path": ["/bin/\u2603/sh"],
    "not a program": ["/bin/broken"],
    "no permission": ["/bin/plain"],
    "a directory": ["/bin"],
    "working directory": ["-w", "/a-file/\u2603", "true"],
    "device": ["--device", "/dev/null:/a-file/\u2603", "true"],
    "setting": ["--sysctl", "net.ipv4.\u2603=1", "true"],
    "limit": ["--ulimit", "nofile=1048576000000:1048576000000", "true"],
    "mount": ["--tmpfs", "/x:nonsense=\u2603", "true"],
}  # fmt: skip


def _with_image(words: list[str], image: str) -> list[str]:
    """Flags, the image, the command."""
    count = 2 if words[0].startswith("-") else 0
    return [*words[:count], image, *words[count:]]


def test_init_that_fails_executes_nothing_of_the_image(
    minidock: Minidock, poisoned: str, report: Path
) -> None:
    for name, words in FAILURES.items():
        line = ("run", "--rm", "--network", "none", "-v", f"{report}:/report")
        failed = minidock(*line, *_with_image(words, poisoned))
        assert failed.code in (1, 125, 126, 127), f"{name}: {failed}"
        assert failed.stderr.startswith(("minidock: ", "exec ")), f"{name}: {failed}"
        assert "Traceback" not in failed.stderr, f"{name}: {failed}"
        assert os.listdir(report) == [], name


def test_exec_that_fails_executes_nothing_of_the_image(
    minidock: Minidock, poisoned: str, report: Path
) -> None:
    line = ("run", "-d", "--name", "box", "--network", "none", "-v", f"{report}:/report")
    minidock.ok(*line, poisoned, "sleep", "60")
    failures = {name: words for name, words in FAILURES.items() if not words[0].startswith("--")}
    for name, words in {**failures, "unknown user": ["-u", "\u2603", "true"]}.items():
        failed = minidock("exec", *_with_image(words, "box"))
        assert failed.code in (1, 125, 126, 127, 128), f"{name}: {failed}"
        assert failed.stderr.startswith(("minidock: ", "exec ")), f"{name}: {failed}"
        assert "Traceback" not in failed.stderr, f"{name}: {failed}"
        assert os.listdir(report) == [], name
    minidock.ok("rm", "-f", "box")


@pytest.mark.parametrize("guarded", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("entering", ["run", "exec"])
def test_late_import_executes_the_image_s_module_only_where_imports_are_not_sealed(
    minidock: Minidock, poisoned: str, report: Path, entering: str, guarded: bool
) -> None:
    guard = "" if guarded else UNSEALED
    line = ["--name", "box", "--network", "none", "-v", f"{report}:/report", poisoned]
    if entering == "run":
        done = attack.without(minidock, LATE_IN_INIT + guard, "run", *line, "true")
    else:
        late = LATE_IN_INIT.replace("    late()\np.", "    path == '/tmp' and late()\np.")
        attack.without(minidock, late + guard, "run", "-d", *line, "sleep", "60")
        done = minidock("exec", "-w", "/tmp", "box", "true")
    if guarded:
        assert done.code != 0 and os.listdir(report) == []
    else:
        assert "colorsys" in (report / "poisoned").read_text(), str(done)
    minidock.ok("rm", "-f", "box")


@pytest.mark.parametrize("guarded", [True, False], ids=["sealed", "unsealed"])
def test_late_import_while_unpacking_executes_the_layer_s_module_only_if_unsealed(
    minidock: Minidock, store: Store, poisoned_tar: bytes, tmp_path: Path, guarded: bool
) -> None:
    (tmp_path / "image.tar").write_bytes(poisoned_tar)
    prelude = TELLS_OF_POISON + LATE_IN_LAYER + ("" if guarded else UNSEALED_LAYER)
    done = attack.without(minidock, prelude, "import", str(tmp_path / "image.tar"), "poisoned")
    assert ("poisoned: " in done.stderr and "colorsys" in done.stderr) is not guarded, str(done)
    assert "Traceback" not in done.stderr


def test_broken_layer_executes_nothing_of_itself(
    minidock: Minidock, store: Store, poisoned_tar: bytes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.tar"
    broken.write_bytes(poisoned_tar[: len(poisoned_tar) // 2 + 77])
    done = attack.without(minidock, TELLS_OF_POISON, "import", str(broken), "poisoned")
    assert done.code == 1 and done.stderr.startswith("minidock: "), str(done)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asks", [False, True], ids=["ours", "asking"])
def test_no_plug_in_of_the_image_s_c_library_is_opened(
    minidock: Minidock, store: Store, poisoned: str, asks: bool
) -> None:
    """-u is resolved by reading text; the C library would have loaded what nsswitch.conf names."""
    prelude = ASKS_FOR_NAMES if asks else ""
    minidock.ok("create", "--name", "box", "--network", "none", "-u", "ann", poisoned, "sleep", "9")
    opened: set[str] = set()
    with _open_fifos(Path(find(store, "box").paths.merged), opened):
        attack.without(minidock, prelude, "start", "box")
        minidock.ok("exec", "-u", "ann", "box", "true")
        minidock("exec", "-u", "nobody-at-all", "box", "true")
        minidock("exec", "-w", "/none", "box", "true")
    assert ("etc/nsswitch.conf" in opened) is asks
    if not asks:
        assert opened == set()
    minidock.ok("rm", "-f", "box")


@contextmanager
def _open_fifos(root: Path, opened: set[str]) -> Iterator[None]:
    """Note which of PLUG_INS somebody reads: only then can a FIFO be opened for writing."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.001):
            for name in PLUG_INS:
                try:
                    os.close(os.open(root / name, os.O_WRONLY | os.O_NONBLOCK))
                    opened.add(name)
                except OSError as error:
                    assert error.errno in (errno.ENXIO, errno.ENOENT)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
