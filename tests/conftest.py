"""Fixtures of all tests, and the promise that a test run leaves the machine as it found it.

    store            a store of the test's own (MINIDOCK_ROOT points to it), wiped afterwards
    minidock         runs the command line on that store: minidock("ps", "-a"), minidock.ok(...)
    busybox_image    the image busybox:latest in that store; its value is the name
    busybox_tar      a root file system's tar, made once per run by images/busybox
    base_images      a store with the base images that a test needs: base_images.need("python")
    engine           minidock, then docker, as a command line: support/engine.py
    docker           a real dockerd without networks; docker_networked: one with a bridge. Both are
                     in a network of their own, which leaves a Docker of this machine alone
    require          require("skopeo"): skips without that program, fails where MINIDOCK_CI is set

Marks: `root` for what needs root; `alone` for what no other test may run beside (those come last).
No test asks Docker Hub: it is a blocked registry here, so a missing image is missed at once.
With MINIDOCK_CI=1 a skipped test is a failed test, unless its reason begins with "this kernel".
With MINIDOCK_VM=1 (make vm-test) those tests run that belong there: support/selection.py.
With MINIDOCK_LONG=1 (make long) nothing is done in samples, and a test may take 20 times as long.
Limits in seconds are those of a quick machine: support/patience.py.
"""

from __future__ import annotations

import collections
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support import docker_daemon, machine, selection, stores
from support.base_images import BaseImages
from support.browser import Browser
from support.command import REPOSITORY, Minidock, command_line, environment
from support.crash import Stage
from support.engine import Engine
from support.look_page import Page
from support.orphans import adopting
from support.patience import long, measure, patience

CI = bool(os.environ.get("MINIDOCK_CI"))
SHARED_MACHINE = bool(os.environ.get("MINIDOCK_SHARED_MACHINE"))
IN_VM = bool(os.environ.get("MINIDOCK_VM"))
BEFORE = pytest.StashKey[machine.Snapshot]()
LEFT = pytest.StashKey[list[str]]()
LEFT_OUT = pytest.StashKey[dict[str, int]]()
_LONGER = 20  # times that a test may take longer by `make long`


# --- the run as a whole: one directory, one look at the machine before and after it --------------


def _is_controller(config: pytest.Config) -> bool:
    return not hasattr(config, "workerinput")


def _is_root() -> bool:
    return os.geteuid() == 0


def session_directory() -> Path:
    """The run's own directory, shared by its workers."""
    return Path(os.environ["MINIDOCK_TEST_SESSION"])


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    _prepare_hypothesis()
    # Before pytest-timeout looks at it; a limit on the command line is somebody's own.
    if config.getoption("timeout", None) is None:
        os.environ["PYTEST_TIMEOUT"] = f"{_limit_seconds(float(config.getini('timeout'))):.0f}"
    if _is_controller(config):
        _hear_signals()
        os.environ["MINIDOCK_TEST_SESSION"] = tempfile.mkdtemp(prefix="mdt-", dir="/var/tmp")
        _block_docker_hub(session_directory() / "config")
        if _is_root():
            config.stash[BEFORE] = machine.snapshot()


def _prepare_hypothesis() -> None:
    """What it draws may take its time on a busy machine; a long run draws fifty times as much."""
    try:
        import hypothesis
    except ImportError:  # the disposable machine has none, and runs no test that asks for it
        return
    busy = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile(
        "minidock", deadline=None, suppress_health_check=busy, max_examples=long(100, 5000)
    )
    hypothesis.settings.load_profile("minidock")


def _limit_seconds(seconds: float) -> float:
    """What a test may take here, of so many seconds on a quick machine."""
    return patience(seconds) * long(1, _LONGER)


def _block_docker_hub(directory: Path) -> None:
    directory.mkdir()
    (directory / "registries.json").write_text('{"blocked-registries": ["docker.io"]}')
    os.environ["MINIDOCK_CONFIG"] = str(directory)
    os.environ["DOCKER_CONFIG"] = str(directory)  # nobody's passwords


def pytest_report_header() -> str:
    return f"slowness: {measure():.1f}; limits in seconds are multiplied by it"


def _hear_signals() -> None:
    """nohup, and a shell's &, have signals ignored; and so would all that the tests start.

    A handler is forgotten at execve, where "ignored" is not.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config = session.config
    if not _is_controller(config):
        config.workeroutput["left_out"] = config.stash.get(LEFT_OUT, {})
        return
    directory = session_directory()
    if BEFORE in config.stash:
        _give_settings_back(config.stash[BEFORE])
        machine.stop_units(config.stash[BEFORE])
        docker_daemon.stop_all(directory)
        config.stash[LEFT] = _left_behind(config.stash[BEFORE], directory)
        if config.stash[LEFT]:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    shutil.rmtree(directory, ignore_errors=True)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = collections.Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple)
    )
    for why, count in sorted(skipped.items()):
        terminalreporter.line(f"skipped: {count} tests, {why}")
    if not skipped:
        terminalreporter.line("skipped: no test")
    for why, count in sorted(config.stash.get(LEFT_OUT, {}).items()):
        terminalreporter.line(f"left out: {count} tests, {why}")
    if left := config.stash.get(LEFT, []):
        terminalreporter.section("left behind on this machine", red=True)
        for line in left:
            terminalreporter.line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """xdist: a worker has ended; all of them have left out the same."""
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def _give_settings_back(before: machine.Snapshot) -> None:
    """Forwarding is switched on by the first network and stays on, as with Docker; with it, FORWARD
    drops what no rule takes."""
    for setting in before["setting"] - machine.settings():
        path, _, value = setting.partition(" = ")
        Path(path).write_text(value)
    dropping = "iptables filter policy of FORWARD: DROP"
    if dropping in machine.firewall_rules() - before["firewall rule"]:
        subprocess.run(["iptables", "--wait", "-P", "FORWARD", "ACCEPT"], check=True)


def _left_behind(before: machine.Snapshot, directory: Path) -> list[str]:
    """What is left once the dying have had a moment to die."""
    owners = _owners(directory)
    marks = {str(directory), *owners} if SHARED_MACHINE else None
    deadline = time.monotonic() + patience(2)
    while (left := machine.left_behind(before, machine.snapshot(), marks)) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return [line + _whose(line, owners) for line in left]


def _owners(directory: Path) -> dict[str, str]:
    """The names by which the kernel's objects are known, and the test that each belongs to."""
    listed = directory / "stores"
    lines = listed.read_text().splitlines() if listed.exists() else []
    return dict(line.split("\t", 1) for line in lines)


def _whose(line: str, owners: dict[str, str]) -> str:
    tests = {test for mark, test in owners.items() if mark in line}
    return "".join(f"\n    of {test}" for test in sorted(tests))


# --- which tests run, when, and what a skip means ------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    _leave_out(config, items)
    for item in items:
        if own := item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_limit_seconds(own.args[0])), append=False)
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


def _leave_out(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what does not belong into this machine; why is said at the end."""
    rule = selection.why_not_in_vm if IN_VM else selection.why_only_in_vm
    left_out = [(item, why) for item in items if (why := rule(item))]
    config.stash[LEFT_OUT] = dict(collections.Counter(why for _, why in left_out))
    config.hook.pytest_deselected(items=[item for item, _ in left_out])
    gone = {item for item, _ in left_out}
    items[:] = [item for item in items if item not in gone]


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and not _is_root():
        pytest.skip("needs root")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Iterator[None]:  # the report passes through
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(call.excinfo.value) if call.excinfo else ""
        if not reason.startswith("this kernel"):
            report.outcome = "failed"
            report.longrepr = f"skipped, which CI does not accept: {reason}"
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the VM, report a failed test at once: a run takes long there."""
    if IN_VM and report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        why = report.longreprtext.strip().splitlines()
        print(f"\nfailed: {report.nodeid}", *why[-25:], sep="\n  ", flush=True)


@pytest.fixture(autouse=True)
def _turn(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests run side by side, except that one marked `alone` waits until no other runs."""
    alone = request.node.get_closest_marker("alone") is not None
    with open(session_directory() / "turn.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
        # Closing is not enough: what the test has forked and left running holds the file, too.
        fcntl.flock(lock, fcntl.LOCK_UN)


@pytest.fixture(scope="session")
def require() -> Callable[[str], str]:
    """Returns a program's path; where it is not installed the test is skipped (in CI: fails)."""

    def find(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"{program} is not installed")
        return path

    return find


# --- stores and images ---------------------------------------------------------------------------


@pytest.fixture
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store of the test's own, on disk; what the kernel holds of it is gone afterwards."""
    root = tempfile.mkdtemp(prefix="s", dir=session_directory())
    monkeypatch.setenv("MINIDOCK_ROOT", root)
    made = Store(root)
    with open(session_directory() / "stores", "a") as owners:
        owners.write("".join(f"{m}\t{request.node.nodeid}\n" for m in stores.marks(made)))
    yield made
    if _is_root():
        stores.wipe(made)
    else:
        shutil.rmtree(root)


@pytest.fixture
def minidock(store: Store) -> Minidock:
    """The command line, on the test's store."""
    return Minidock(store.root)


@pytest.fixture(scope="session")
def busybox_tar() -> Path:
    """The root file system that images/busybox makes: one tar for the whole run."""
    tar = session_directory() / "busybox.tar"
    with open(session_directory() / "busybox.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            recipe = REPOSITORY / "images/busybox/recipe"
            done = subprocess.run(["/bin/sh", recipe], capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
            tar.with_suffix(".part").write_bytes(done.stdout)
            tar.with_suffix(".part").rename(tar)
    return tar


@pytest.fixture(scope="session")
def _busybox_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A store in which busybox was made, to copy from: one per worker."""
    root = tempfile.mkdtemp(prefix="seed", dir=session_directory())
    Minidock(root).ok("image", "make", "busybox")
    yield Path(root)
    stores.wipe(Store(root))


@pytest.fixture
def busybox_image(store: Store, _busybox_store: Path) -> str:
    """The image busybox:latest in the test's store."""
    subprocess.run(["cp", "-a", f"{_busybox_store}/.", store.root], check=True)
    return "busybox:latest"


@pytest.fixture(scope="session")
def base_images() -> Iterator[BaseImages]:
    """A store in which base images are made when they are needed: one per worker."""
    root = tempfile.mkdtemp(prefix="base", dir=session_directory())
    with open(session_directory() / "stores", "a") as owners:
        owners.write("".join(f"{m}\tbase images\n" for m in stores.marks(Store(root))))
    yield BaseImages(root)
    stores.wipe(Store(root))


# --- pages in a browser --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(
    tmp_path_factory: pytest.TempPathFactory, require: Callable[[str], str]
) -> Iterator[Browser]:
    """A headless Chromium."""
    require("chromium")
    require("chromedriver")
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def page(browser: Browser, minidock: Minidock, busybox_image: str, tmp_path: Path) -> Page:
    """A page of look --export, with the test's store."""
    return Page(browser, minidock, tmp_path / "look.html")


# --- other engines -------------------------------------------------------------------------------


@pytest.fixture
def docker(require: Callable[[str], str]) -> docker_daemon.Docker:
    """The docker command line on a daemon of our own that has no bridge and no firewall rules."""
    require("dockerd")
    return _daemon("plain")


@pytest.fixture
def docker_networked(require: Callable[[str], str]) -> docker_daemon.Docker:
    """The docker command line on a daemon of our own with a bridge and its firewall rules."""
    require("dockerd")
    return _daemon("networked")


def _daemon(kind: str) -> docker_daemon.Docker:
    try:
        return docker_daemon.ensure(session_directory(), kind)
    except docker_daemon.NoDaemon as error:
        pytest.skip(f"no dockerd can be started here: {error}")


@pytest.fixture(params=("minidock", "docker"))
def engine(
    request: pytest.FixtureRequest, busybox_tar: Path, require: Callable[[str], str]
) -> Iterator[Engine]:
    """minidock, then docker: a command line with the image box, and a container it to be made."""
    if request.param == "minidock":
        from minidock.engine.image import archive

        store: Store = request.getfixturevalue("store")
        with open(busybox_tar, "rb") as tar:
            archive.import_rootfs(store, tar, "box:latest")
        yield Engine(command_line(), environment(store.root))
        Engine(command_line(), environment(store.root)).ok("rm", "-f", "it")
        assert stores.leftovers(store) == []
    else:
        docker: docker_daemon.Docker = request.getfixturevalue("docker")
        docker.ok("import", str(busybox_tar), "box:latest")
        words = [require("docker"), "-H", f"unix://{docker.socket}"]
        yield Engine(words, docker.environment)
        docker("rm", "-f", "it")


@pytest.fixture
def stage(store: Store, busybox_tar: Path) -> Iterator[Stage]:
    """A store with an image, ready for commands that are killed."""
    from support.crash_acts import set_up

    with adopting():
        yield set_up(store, busybox_tar)
