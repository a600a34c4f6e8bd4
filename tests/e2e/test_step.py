"""run --step: before each act the kernel is as far as the journal, and an abort leaves nothing."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from minidock.engine.container import create, lookup
from minidock.engine.lifecycle import start
from minidock.engine.monitor.pending_exec import LIMIT_SECONDS
from minidock.errors import Aborted
from minidock.paths import Store
from support import attack, half_made, stores
from support.command import REPOSITORY, Minidock
from support.crash import Stage
from support.crash_acts import body
from support.patience import patience, steps
from support.stepped_run import PROMPT, begin_stepped_run

pytestmark = [pytest.mark.root]
of_stage = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # by execnet

RUNS = "created: the command runs"
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def terminal(minidock: Minidock) -> Iterator[Terminal]:
    """Starts a stepped run on a terminal."""
    started = []

    def begin(*arguments: str) -> pexpect.spawn[str]:
        started.append(begin_stepped_run(minidock.root, *arguments))
        return started[-1]

    yield begin
    for child in started:
        child.close(force=True)


def say(child: pexpect.spawn[str], word: str) -> str:
    """Say a word at the prompt; returns what is shown up to the next one."""
    child.sendline(word)
    child.expect_exact(PROMPT)
    return (child.before or "").partition("\r\n")[2]


def interrupt(child: pexpect.spawn[str]) -> None:
    """Press Ctrl-C, and again where it came between readline's prompt and its select(2).

    That one Python has noted, and looks at when the next interrupts the select.
    """
    answers = ["undoing what was done:", pexpect.TIMEOUT]
    deadline = time.monotonic() + patience(30)
    child.sendintr()
    while child.expect_exact(answers, timeout=patience(2)) != 0:
        assert time.monotonic() < deadline
        child.sendintr()


def ended(child: pexpect.spawn[str]) -> int | None:
    child.expect(pexpect.EOF)
    child.close()
    return child.exitstatus


def shown_op(text: str) -> str:
    """The op before which a pause stands."""
    return re.findall(r"^ +\d+   (\w+\.\w+)\(", text, re.M)[-1]


def home_of(store: Store, name: str) -> Path:
    return Path(store.containers, os.readlink(f"{store.names}/{name}"))


def inspected_links(child: pexpect.spawn[str]) -> list[str]:
    """The last part of what `inspect` says."""
    told = say(child, "inspect").partition("ip address")[2]
    return [" ".join(line.split()) for line in told.splitlines() if line.strip()]


def told_by_ip(acts: list[half_made.Act], place: half_made.Place) -> list[str]:
    """The same, as ip(8) says it from inside, and the host's /sys of the cable's other end."""
    (birth,) = [act for act in acts if act.op == "namespace.clone_process"]
    links, gateway = half_made.links_and_gateway(int(birth.made))
    cable = f"veth{place.id[:11]}"
    assert Path(f"/sys/class/net/{cable}/master").readlink().name == place.bridge
    found = [f"{name} {' '.join(words)}" for name, words in links.items()]
    eth0 = next(line for line in found if line.startswith("eth0"))
    found[found.index(eth0)] = f"{eth0} its peer: {cable} in {place.bridge}"
    return [*found, f"default route by {gateway}"]


def test_at_each_pause_the_kernel_is_as_far_as_the_journal(
    terminal: Terminal, minidock: Minidock, busybox_image: str, store: Store
) -> None:
    flags = ("--rm", "-m", "64m", "--pids-limit", "50", "--user", "1000:50", "-v", "kept:/data")
    published = ("--read-only", "--tmpfs", "/x", "-p", "127.0.0.1::80")
    child = terminal("--name", "half", *flags, *published, busybox_image, "true")
    pauses = 0
    while child.expect_exact([PROMPT, RUNS]) == 0:
        pauses += 1
        home = home_of(store, "half")
        place = half_made.Place(home, store.bridge)
        acts, standing = half_made.done(home / "journal.jsonl")
        assert shown_op(child.before or "") == standing.op
        by_program = half_made.needs_programs(acts, standing)
        promise = half_made.expected(acts, place, with_programs=by_program)
        fact = half_made.seen(promise, acts, standing, place, with_programs=by_program)
        assert fact == promise, f"pause {pauses}, before {standing}"
        if half_made.is_limit(standing, place):
            now = Path(standing.args["path"]).read_text().strip()
            assert now != standing.args["value"]
        if standing.op == "process.execute":
            assert inspected_links(child) == told_by_ip(acts, place)
        child.sendline("step")
    assert pauses > 100
    assert ended(child) == 0


def stepped(store: Store, number: int, act: Callable[[], bytes]) -> int:
    """A run that is let go on before each act but one; returns how many there were."""
    container = create.create(store, body(), name="web")
    turns = 0

    def on_step(_socket: object) -> bytes:
        nonlocal turns
        turns += 1
        return act() if turns == number else b"g"

    start.start(
        store,
        container.id,
        attach=None,
        on_record=lambda _line: None,
        on_step=on_step,
    )
    return turns


def die() -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    return b""


@of_stage
def test_an_abort_before_each_act_leaves_nothing(stage: Stage) -> None:
    whole = stage.command(lambda: stepped(stage.store, 0, die))
    assert whole.error is None and whole.value > 100, whole
    Minidock(stage.store.root).ok("rm", "-f", "web")
    for number in steps(range(1, whole.value + 1), "abort", apart=4):
        outcome = stage.command(lambda at=number: stepped(stage.store, at, lambda: b"q"))  # type: ignore[misc]
        assert isinstance(outcome.error, Aborted), (number, outcome)
        left = stage.leftovers()
        assert not left, (number, left)


@of_stage
def test_a_command_that_dies_at_a_pause_is_an_abort(stage: Stage) -> None:
    for number in range(1, 100, 8):
        outcome = stage.command(lambda at=number: stepped(stage.store, at, die))  # type: ignore[misc]
        assert outcome.signal == signal.SIGKILL, (number, outcome)
        left = stage.leftovers()
        assert not left, (number, left)


def nothing_is_left(minidock: Minidock, store: Store) -> bool:
    """Once the monitor, which has said its last word or lost its command, has unmade the rest."""
    deadline = time.monotonic() + patience(10)
    while (left := stores.leftovers(store)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []
    return minidock.ok("ps", "-aq") == ""


def test_a_session_with_breaks_a_look_at_the_kernel_and_a_shell_inside(
    terminal: Terminal, minidock: Minidock, busybox_image: str, store: Store
) -> None:
    child = terminal("--name", "half", "--hostname", "inside", "--net", "none", busybox_image)
    child.expect_exact(PROMPT)
    assert "none yet" in say(child, "inspect")
    assert "has no process yet" in say(child, "sh")
    assert "mount.pivot_root" in say(child, "break pivotroot")
    assert "unknown command" in say(child, "bind_mount")
    say(child, "break pivot_root(2)")
    assert "breakpoints: pivot_root" in say(child, "b")
    assert shown_op(say(child, "continue")) == "mount.pivot_root"
    assert "the host's file system stays reachable" in say(child, "explain")
    assert "Created" in minidock.ok("ps", "-a", "--format", "{{.Status}}")

    told = say(child, "inspect")
    init = int(re.findall(r"cat /proc/(\d+)/status", told)[0])
    for kind in half_made.KINDS.values():
        link = os.readlink(f"/proc/{init}/ns/{kind}")
        assert re.search(re.escape(link) + " +its own", told), kind
    assert os.readlink(f"/proc/{init}/ns/user") + "      the host's" in told
    below = f"{home_of(store, 'half')}/merged/"
    for mount in half_made.mounts(str(init)):
        line = f"$C/merged/{mount.target.removeprefix(below)}  "
        assert (line in told) == mount.target.startswith(below)

    child.sendline("sh")
    child.expect_exact("(half-made)")
    assert "the root is still the host's" in (child.before or "")
    child.sendline(f"hostname; test -d {below} && echo seen $((6 * 7)); exit 3")
    child.expect("inside\r\nseen 42")
    child.expect_exact(PROMPT)
    assert "exit code 3" in (child.before or "")
    assert shown_op(say(child, "step 3")) == "path.enter_directory"  # the old root has gone
    said = say(child, f"sh test -d {below} || ls -A /").splitlines()
    assert "runs as nobody" in said[0] and said[1:] == sorted(os.listdir(below))
    assert shown_op(say(child, "next")) == "node.make_mount_point"
    assert shown_op(say(child, "")) == "node.make_device"  # an empty line: next, once more
    assert "init · runtime.process_config" in say(child, "chapter")
    assert shown_op(say(child, "list")) == shown_op(say(child, "l"))
    assert "no breakpoint before pivot_root any more" in say(child, "dele\tpivot_r\t")
    child.sendline("abort")
    assert ended(child) == 125
    assert nothing_is_left(minidock, store)


def test_a_script_at_a_pipe_steps_and_the_rest_of_stdin_is_the_commands(
    minidock: Minidock, busybox_image: str
) -> None:
    """The host's program has init's power, the image's none until init has given up its own."""
    look = "sh grep -E '^(Cap(Bnd|Eff)|Seccomp|Uid):' /proc/self/status"
    breaks = ["break pivot_root", "break load", "break execute"]
    words = [*breaks, "c", look, "c", look, "sh exit 4", "c", look, "continue"]
    script = "\n".join([*words, "not", "a word"])
    flags = ("--step", "--rm", "-i", "--net", "none", "--user", "1000", busybox_image, "cat")
    result = minidock("run", *flags, stdin=script)
    assert result.code == 0, str(result)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[12:] == [["not"], ["a", "word"]]
    early, between, late = (
        {name.rstrip(":"): values[0] for name, *values in lines[at : at + 4]} for at in (0, 4, 8)
    )
    everything = half_made.all_capabilities()
    assert int(early["CapBnd"], 16) == int(early["CapEff"], 16) == everything
    assert (early["Uid"], early["Seccomp"]) == ("0", "0")
    assert int(between["CapBnd"], 16) == int(between["CapEff"], 16) == 0
    assert (between["Uid"], between["Seccomp"]) == ("65534", "2")
    assert (late["Uid"], late["Seccomp"]) == ("1000", "2")
    assert int(late["CapBnd"], 16).bit_count() == 14
    assert "(step) break load\n" in result.stderr and "exit code 4" in result.stderr


def test_a_shell_at_each_pause_of_the_mounts_stands_where_init_stands(
    terminal: Terminal, busybox_image: str, store: Store
) -> None:
    """Also while the host's root is stacked on the new one: entering the namespace leads there."""
    child = terminal("--rm", "--name", "half", "--net", "none", busybox_image, "true")
    child.expect_exact(PROMPT)
    say(child, "break mount")
    say(child, "break enter_directory")
    shown = say(child, "continue")
    moments = set()
    while "process.execute" not in shown:
        acts, _standing = half_made.done(home_of(store, "half") / "journal.jsonl")
        births = [int(act.made) for act in acts if act.op == "namespace.clone_process"]
        if births:
            (pid,) = births
            said = say(child, "sh ls -A /; echo; pwd; readlink /proc/self/ns/mnt; stat -Lc %i / .")
            names, _, where = said.replace("\r", "").partition("\n\n")
            root = os.stat(f"/proc/{pid}/root/")
            on_top = [m for m in half_made.mounts(str(pid)) if m.target == "/"]
            moment = (os.path.samestat(root, os.stat("/")), len(on_top) > 1)
            moments.add(moment)
            assert ("root is still the host's" in names) == moment[0]
            assert ("`ls /..` the host's" in names) == moment[1]
            listed = os.listdir(f"/proc/{pid}/root/")
            assert sorted(names.splitlines()[-len(listed) :]) == sorted(listed)
            inodes = [os.stat(f"/proc/{pid}/{name}/").st_ino for name in ("root", "cwd")]
            cwd, namespace, *found = where.split()
            assert cwd == os.readlink(f"/proc/{pid}/cwd")
            assert namespace == os.readlink(f"/proc/{pid}/ns/mnt")
            assert [int(inode) for inode in found] == inodes
        child.sendline("continue")
        if child.expect_exact([PROMPT, RUNS]):
            break
        shown = child.before or ""
    assert moments == {(True, False), (False, True), (False, False)}  # the middle one is stacked
    assert ended(child) == 0


def test_the_images_shell_has_no_power_over_the_host(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """The host's tree is one ".." away until it is unmounted, and init's directory the image's."""
    owned = tmp_path / "owned"
    (tmp_path / "context").mkdir()
    program = tmp_path / "context/sh"
    shell = f"for up in / /../; do echo owned > $up{owned}; done 2>/dev/null; id -u"
    program.write_text(f"#!/bin/busybox ash\n{shell}\n")
    program.chmod(0o755)
    recipe = "FROM busybox\nCOPY sh /bin/sh\nCOPY sh /sh\nENV PATH=.:/bin\n"
    (tmp_path / "context/Dockerfile").write_text(recipe)
    minidock.ok("build", "-q", "-t", "hostile", str(tmp_path / "context"))
    words = ["break pivot_root", "c", "sh id -u; id -g", "s", "sh", "sh :", "s 2", "sh :", "c"]
    run = ("run", "--step", "--rm", "--net", "none", "hostile", "true")
    script = "\n".join(words) + "\n"
    result = minidock(*run, stdin=script)
    assert (result.code, result.stdout) == (0, "0\n0\n65534\n65534\n"), result
    assert not owned.exists()
    trusting = (
        "from minidock.engine.monitor import step_exec; step_exec._has_given_up = lambda *_: True"
    )
    unguarded = attack.without(minidock, trusting, *run, stdin=script)
    assert unguarded.stdout == "0\n0\n0\n0\n" and owned.read_text() == "owned\n"


@pytest.mark.parametrize("end", ["ctrl-c", "ctrl-d", "kill"])
def test_ctrl_c_the_end_of_stdin_and_of_the_command_are_aborts(
    terminal: Terminal, minidock: Minidock, busybox_image: str, store: Store, end: str
) -> None:
    child = terminal("--name", "half", "-it", "--net", "none", busybox_image, "sh")
    child.expect_exact(PROMPT)
    say(child, "break set_hostname")
    say(child, "continue")
    if end == "kill":
        child.sendline("sh")  # which is a child of the monitor's, in the container's namespaces
        child.expect_exact("(half-made)")
        child.kill(signal.SIGKILL)
    else:
        interrupt(child) if end == "ctrl-c" else child.sendeof()
        assert ended(child) == 125
    assert nothing_is_left(minidock, store)


def test_after_the_last_act_the_terminal_is_the_commands(
    terminal: Terminal, busybox_image: str
) -> None:
    child = terminal("--rm", "-it", "--net", "none", busybox_image, "sh")
    child.expect_exact(PROMPT)
    child.sendline("continue")
    child.expect_exact(RUNS)
    child.expect_exact("# ")
    child.sendline("stty size; exit 7")
    child.expect_exact("50 120")
    assert ended(child) == 7


def test_an_act_that_fails_stops_it_and_the_undo_is_stepped_through(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    flags = ("--step", "--rm", "--net", "none", "--tmpfs", "/x:size=nonsense", busybox_image)
    result = minidock("run", *flags, stdin="continue\nstep\ninspect\ncontinue\n")
    assert result.code == 125
    failed, _, after = result.stderr.partition("failed: Invalid argument (EINVAL)")
    assert failed.rstrip().endswith("mount.mount_filesystem") and after.count("(step) ") == 3
    assert "tmpfs on /x: Invalid argument" in result.stderr
    assert nothing_is_left(minidock, store)


@pytest.mark.parametrize("flag", ["--detach", "--explain"])
def test_what_cannot_be_stepped_is_refused(
    minidock: Minidock, busybox_image: str, flag: str
) -> None:
    result = minidock("run", "--step", flag, busybox_image)
    assert result.code == 125 and f"--step and {flag} exclude each other" in result.stderr
    assert minidock.ok("ps", "-aq") == ""


def test_the_session_of_the_docs_is_one(minidock: Minidock, busybox_image: str) -> None:
    page = (REPOSITORY / "docs/step.md").read_text()
    session = page.partition("## A session")[2].partition("$ sudo minidock ")[2]
    call, _, told = session.partition("```")[0].partition("\n")
    words = re.findall(r"^\(step\) (.*)$", told, re.M)
    result = minidock(*shlex.split(call), stdin="\n".join(words) + "\n")
    assert result.code == 0, str(result)
    ops = r"^ +(?:(?:monitor|init) +)?\d+   (\w+\.\w+)\b"
    assert re.findall(ops, result.stderr, re.M) == re.findall(ops, told, re.M)
    assert set(result.stdout.splitlines()) <= set(told.splitlines())
    kinds = r"^ +(\w+:)\[\d+\] +(its own|the host's)"
    assert re.findall(kinds, result.stderr, re.M) == re.findall(kinds, told, re.M)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("then", ["it is waited for", "the command dies"])
def test_a_shell_that_is_stopped_on_its_way_inside_is_given_up(
    terminal: Terminal,
    minidock: Minidock,
    busybox_image: str,
    store: Store,
    require: Callable[[str], str],
    then: str,
) -> None:
    """strace stops it (SIGSTOP) as it joins the namespaces."""
    require("strace")
    child = terminal("--rm", "--name", "half", "--net", "none", busybox_image, "true")
    child.expect_exact(PROMPT)
    say(child, "break pivot_root")
    say(child, "continue")
    monitor = lookup.find(store, "half").monitor_pid
    children = Path(f"/proc/{monitor}/task/{monitor}/children")
    strace = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=setns",
         "-e", "inject=setns:signal=SIGSTOP", "-p", str(monitor)],
    )  # fmt: skip
    deadline = time.monotonic() + patience(20)
    while "TracerPid:\t0\n" in Path(f"/proc/{monitor}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.sendline("sh true")
    while not (frozen := [pid for pid in children.read_text().split() if _state(pid) == "t"]):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # strace's own stops look the same: one that it has still to end
    strace.terminate()
    strace.wait(patience(10))
    if then == "the command dies":
        os.kill(child.pid, signal.SIGKILL)
        child.close()
    else:
        child.expect_exact(f"did not enter the container within {LIMIT_SECONDS:g} s",
                           timeout=LIMIT_SECONDS + patience(20))  # fmt: skip
        child.expect_exact(PROMPT)
        child.sendline("abort")
        assert ended(child) == 125
    while not nothing_is_left(minidock, store):
        assert time.monotonic() < deadline + LIMIT_SECONDS
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{frozen[0]}")


def _state(pid: str) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
