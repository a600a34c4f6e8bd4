"""The grader against programs that want more than points: what they try, and what comes of it.

The programs here are shell scripts and small Pythons in the student's place; what they have reached
is asked of the host's kernel.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from minidock.teach.lab import rubric, sandbox_cgroup
from minidock.teach.lab.check import GraderError, Result, run_exam
from minidock.teach.lab.exam import Failure, Limits, Sandbox
from minidock.teach.lab.folder import Lab
from minidock.teach.lab.sandbox_tree import ROOT_ID
from minidock.teach.lab.submission_files import Files
from support import machine
from support.command import Result as Answer
from support.command import command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

NAME = f"mine{os.getpid()}"  # of a program that this run looks for among the host's processes
RUBRIC = """
[lab]
title = "Isolation"
about = "A lab of the tests."
minutes = 1
explain = []
read = []
[limits]
seconds = 1
memory_mib = 64
pids = 32
[[item]]
name = "before"
points = 30
expect = "fine"
hint = "say fine"
[[item]]
name = "bad"
points = 40
expect = "fine"
hint = "say fine"
[[item]]
name = "after"
points = 30
expect = "fine"
hint = "say fine"
"""
EXAM = """
from minidock.teach.lab.exam import Exam, Failure

def says_fine(exam, verb):
    result = exam.sandbox().run(verb)
    if result.output[:4] != "fine" or result.exit_code:
        raise Failure(result.summary())
    return result.output[:20]

def before(exam): return says_fine(exam, "before")
def bad(exam): return says_fine(exam, "bad")
def after(exam): return says_fine(exam, "after")
"""


def program(text: str, interpreter: str = "/bin/sh") -> Files:
    """A student's folder: this program, as `box`."""
    files = Files()
    files.put("box", f"#!{interpreter}\n{text}".encode(), stat.S_IFREG | 0o755)
    return files


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    folder = tmp_path / "99-isolation"
    folder.mkdir()
    (folder / "rubric.toml").write_text(RUBRIC)
    (folder / "exam_99.py").write_text(EXAM)
    return Lab(str(folder))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(program('exec sh -c "$1"')) as made:
        yield made


def examined(lab: Lab, bad: str) -> dict[str, Result]:
    """The exam of a program that is fine, but for what it does when it shall be bad."""
    script = f'[ "$1" = bad ] || {{ echo fine; exit; }}\n{bad}\n'
    results = run_exam(lab, rubric.read(lab.folder), program(script))
    return {result.item.name: result for result in results}


def running(name: str) -> list[int]:
    """The living processes of the host whose program has this name.

    Not by their command lines: reading one waits where its process is short of memory.
    """
    entries = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [pid for pid in entries if living_program(pid) == name]


def living_program(pid: int) -> str:
    """The name of a process's program; empty where it has ended, though nobody may have waited.

    An orphan falls to who has asked for orphans, as other tests' processes do.
    """
    try:
        number_and_name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
    except OSError:
        return ""
    return "" if rest[0] in "ZX" else number_and_name.partition(" (")[2]


# What costs only its own points ------------------------------------------------------------------


FORKS_ON = """import os
while True:
    try: os.fork()
    except OSError: pass"""
CLONE = {"x86_64": 56, "aarch64": 220}
# Children whose parent is the grader (CLONE_PARENT), which has never heard of them.
SIBLINGS = f"""import ctypes, os
clone = {CLONE[os.uname().machine]}
for _ in range(3):
    if ctypes.CDLL(None).syscall(clone, 0x8000 | 17, 0, 0, 0, 0) == 0: os._exit(0)
os._exit(3)"""
# v2's file is written to where there is one, else v1's.
FREEZES = (
    "cd /sys/fs/cgroup; [ ! -d freezer ] || cd freezer; mkdir x; echo {} > x/cgroup.procs; "
    "[ -e x/freezer.state ] && echo FROZEN > x/freezer.state || echo 1 > x/cgroup.freeze"
)
BAD = {
    "spins": "while :; do :; done",
    "forks for ever": "cp /bin/sleep /tmp/NAME; while :; do /tmp/NAME 600 & done; wait",
    "fork bomb": "bomb() { bomb | bomb & bomb; }; bomb",
    "fork bomb that goes on": f"exec python3 -c '{FORKS_ON}'",
    "floods stdout": "exec yes",
    "floods stderr": "exec yes >&2",
    "takes memory": "exec python3 -c 'x = bytearray(1 << 30)'",
    "fills the disk": "exec dd if=/dev/zero of=/tmp/full bs=1M",
    "kills all it can": "exec python3 -c 'import os; os.kill(-1, 9); print(0)'",
    "leaves a daemon": "cp /bin/sleep /tmp/NAME; setsid -f /tmp/NAME 600; exec sleep 600",
    "reboots": "exec python3 -c 'import ctypes; ctypes.CDLL(None).reboot(0x1234567)'",
    "stops": "kill -STOP $$",
    "garbles": "printf 'fine\\033[2J\\000'; exit 1",
    "is not there": "exec /nothing",
    "freezes itself": f"{FREEZES.format('$$')}; sleep 600",
    "freezes its PID 1": f"{FREEZES.format('1')}; exit 3",
    "gives its children to the grader": f"exec python3 -c '{SIBLINGS}'",
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_misbehaving_costs_its_own_points(lab: Lab, bad: str) -> None:
    results = examined(lab, bad.replace("NAME", NAME))
    assert {name: result.points for name, result in results.items()} == {
        "before": 30,
        "bad": 0,
        "after": 30,
    }, results
    assert results["bad"].seen.isprintable()
    assert running(NAME) == []


# What cannot be reached --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "attempt",
    [
        "echo x > /lab/box",
        "echo x > /lab/new",
        "mount -o remount,rw,bind /lab && echo x > /lab/new",
        "mount -o remount,rw /lab && echo x > /lab/new",
        "umount /lab",
        "umount -l /usr",
        "echo x > /usr/bin/new",
        "mount -o remount,rw,bind /usr",
        "echo x > /etc/new",
        "cat /etc/shadow",
        "mknod /tmp/sda b 8 0",
        "echo x > /proc/sys/kernel/core_pattern",
        "echo b > /proc/sysrq-trigger",
        "echo x > /proc/1/mem",
        "ls -l /proc/1/fd/",
        "ls /proc/1/root/",
        "cd /sys/fs/cgroup; echo max > $(ls pids/pids.max pids.max 2>&-)",
        "nsenter -t 1 -m true",
        "ping -c 1 -W 1 10.0.0.1",
    ],
)
def test_attempt_fails(sandbox: Sandbox, attempt: str) -> None:
    ended = sandbox.run(f"({attempt}) && echo reached")
    assert ended.exit_code != 0 and "reached" not in ended.output, ended


def test_its_root_is_an_ordinary_user_of_the_host(sandbox: Sandbox) -> None:
    sleeping = sandbox.start("exec sleep 314159")
    process = sandbox.find(sleeping, "sleep", "314159")
    assert set(process.status()["Uid"].split()) == {str(ROOT_ID)}
    assert process.namespace("user") != os.readlink("/proc/self/ns/user")


def test_what_the_grader_runs_in_a_box_has_no_right_of_roots(sandbox: Sandbox) -> None:
    """Whatever a box has put where a busybox looks for a program or follows a link."""
    status = sandbox.init.nsenter("cat", "/proc/self/status")
    seen = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert set(seen["Uid"].split() + seen["Gid"].split()) == {str(ROOT_ID)}
    assert {int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {0}
    assert seen["NoNewPrivs"] == "1"


def test_it_sees_no_process_of_the_host(sandbox: Sandbox) -> None:
    seen = sandbox.run("ls -d /proc/[0-9]*").output.split()
    assert len(seen) <= 3


def test_nobody_in_there_traces_what_comes_in_from_outside(sandbox: Sandbox) -> None:
    """The box's `look` has the place's root's number, and is outside its user namespace."""
    hunter = (
        "import os, time\n"
        "mine = set(os.listdir('/proc'))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for pid in set(os.listdir('/proc')) - mine:\n"
        "        if not pid.isdigit(): continue\n"
        "        for name in ('fd/0', 'fd/1', 'fd/2', 'mem', 'environ', 'root/tmp', 'exe'):\n"
        "            try: print('seen', os.open(f'/proc/{pid}/{name}', 0), name, flush=True)\n"
        "            except PermissionError: print('closed', pid, flush=True)\n"
        "            except OSError: pass\n"
    )
    sandbox.write("/tmp/hunter", hunter)
    program = sandbox.start("exec python3 /tmp/hunter")
    process = sandbox.find(program, "python3", "/tmp/hunter")
    deadline = time.monotonic() + patience(10)
    while "closed" not in program.output:
        process.nsenter("true")
        assert time.monotonic() < deadline, program.output
    assert "seen" not in program.output


def test_a_link_in_the_place_leads_nowhere_outside(sandbox: Sandbox) -> None:
    sandbox.run(
        "ln -s /etc/shadow /tmp/a; ln -s /proc/sys/kernel/core_pattern /tmp/b; mkfifo /tmp/c"
    )
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    for path in ("/tmp/a", "/tmp/c"):
        with pytest.raises(Failure):
            sandbox.read(path)
    with pytest.raises(Failure):
        sandbox.write("/tmp/b", "|/tmp/mine")
    assert Path("/proc/sys/kernel/core_pattern").read_text() == pattern


def test_a_link_in_a_submission_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "folder"
    folder.mkdir()
    program("cat /lab/link").write(str(folder))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "below").symlink_to(tmp_path)
    with Sandbox(Files.read(str(folder))) as sandbox:
        ended = sandbox.run()
        assert "secret" not in ended.output and ended.exit_code != 0
        assert sandbox.run("x").exit_code != 0


def test_a_makefile_runs_in_the_same_isolation(lab: Lab, tmp_path: Path) -> None:
    mine = tmp_path / "made"
    files = program("echo fine")
    rule = f"echo x > {mine}; sed -i s/fine/fine2/ box; mv box main; ln -s main box"
    files.put("Makefile", f"all:\n\t{rule}\n".encode())
    results = run_exam(lab, rubric.read(lab.folder), files)
    assert [result.seen for result in results] == ["fine2\n"] * 3
    assert not mine.exists()


# What is left ------------------------------------------------------------------------------------


GRADER = f"""
import sys, time
from minidock.teach.lab.exam import Sandbox, eventually
from minidock.teach.lab.submission_files import Files
sandbox = Sandbox(Files.read(sys.argv[1]))
begins = "cp /bin/sleep /tmp/{NAME}; setsid /tmp/{NAME} 600 & "
program = sandbox.start(begins + sys.argv[2] + "; wait")
sandbox.find(program, "/tmp/{NAME}", "600")
assert eventually(lambda: "begun" in program.output), program.errors
print(sandbox.init.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("frozen", [False, True], ids=["", "what is frozen neither"])
def test_nothing_is_left_when_the_grader_is_killed(frozen: bool, tmp_path: Path) -> None:
    program('exec sh -c "$1"').write(str(tmp_path))
    begun = f'until [ "$(cat /proc/$!/comm)" = {NAME} ]; do :; done'
    freezes = f"{begun}; {FREEZES.format('$!')}; " if frozen else ""
    started = subprocess.Popen(
        [sys.executable, "-c", GRADER, str(tmp_path), f"{freezes}echo begun"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert started.stdout
    init = int(started.stdout.readline())
    name = next(
        line.partition("minidock-labs/")[2].strip().removesuffix("/init")
        for line in Path(f"/proc/{init}/cgroup").read_text().splitlines()
        if "minidock-labs" in line
    )
    tops = [top for top in machine.cgroups() if top.endswith("/minidock-labs")]
    directories = [Path(top, name) for top in tops]
    assert directories and all(directory.is_dir() for directory in directories)
    assert len(running(NAME)) == 1

    started.kill()
    started.wait()

    deadline = time.monotonic() + patience(10)
    while not frozen and (living_program(init) or running(NAME)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    while any(directory.exists() for directory in directories) or running(NAME):
        assert time.monotonic() < deadline, directories
        sandbox_cgroup.remove_stale()  # as the next grader does, and it is not the only one
        time.sleep(0.01)


# Reports -----------------------------------------------------------------------------------------


def minidock(*arguments: str) -> Answer:
    """`minidock ARGUMENTS`, as a course's script calls it."""
    done = subprocess.run(
        [*command_line(), *arguments],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=patience(120),
        check=False,
    )
    return Answer(arguments, done.returncode, done.stdout, done.stderr)


def test_reports_are_the_graders(tmp_path: Path) -> None:
    """A submission that brings its own grader, grade and report gets what it is worth: nothing."""
    submission, out = tmp_path / "submission", tmp_path / "out"
    submission.mkdir()
    out.mkdir()
    files = program(f"echo '{{\"score\": 100}}' > {out}/results.json; exit 0")
    forged = b"raise SystemExit(0)\n"
    for name in ("exam_00.py", "sitecustomize.py", "minidock/__init__.py", "tomllib.py"):
        files.put(name, forged)
    files.put("rubric.toml", RUBRIC.encode())
    files.put(".lab.toml", b'lab = "99-easy"\n')
    files.write(str(submission))
    (out / "results.json").write_text('{"score": 100}')

    done = minidock(
        "lab", "grade", "--lab", "00", "--gradescope", f"{out}/results.json",
        "--junit", f"{out}/out.xml", str(submission),
    )  # fmt: skip

    assert done.code == 0, done
    told = json.loads((out / "results.json").read_text())
    assert told["score"] == sum(test["score"] for test in told["tests"]) == 0
    assert sum(test["max_score"] for test in told["tests"]) == 100
    suite = ElementTree.parse(out / "out.xml").getroot()[0]
    assert suite.get("failures") == suite.get("tests") == str(len(told["tests"]))
    assert sorted(os.listdir(out)) == ["out.xml", "results.json"]


def test_a_failure_of_the_grader_is_no_grade(lab: Lab, tmp_path: Path) -> None:
    Path(lab.exam_file).write_text(EXAM.replace('says_fine(exam, "bad")', "1 // 0"))
    rules = rubric.read(lab.folder)
    with pytest.raises(GraderError, match="failed at bad: ZeroDivisionError") as failed:
        run_exam(lab, rules, program("echo fine"))
    assert failed.value.exit_code == 125


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grade", "--junit", "x.xml"], "lab grade requires --lab"),
        (["grade", "--lab", "00", "--junit", "/nowhere/x.xml"], "cannot be written to /nowhere"),
        (["check", "--lab", "77"], "no such lab: 77"),
        (["check", "/nowhere"], "no such folder: /nowhere"),
        (["check", "--lab", "00", "--item", "nothing"], "has no item nothing"),
        (["start", "00", "--language", "cobol"], "has no skeleton-cobol"),
    ],
)
def test_a_wrong_call_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = minidock("lab", *arguments)
    assert answer.code in (1, 125) and said in answer.stderr, answer
    assert os.listdir(tmp_path) == []


def test_limits_are_the_rubrics(lab: Lab) -> None:
    assert rubric.read(lab.folder).limits == Limits(seconds=1, memory_mib=64, pids=32)


def test_a_terminal_sees_which_item_is_looked_at(tmp_path: Path) -> None:
    program("exit 1").write(str(tmp_path))
    words = [*command_line(), "lab", "check", "--lab", "00", "--item", "own-root", str(tmp_path)]
    terminal = pexpect.spawn(words[0], words[1:], env=environment(), timeout=patience(60))
    terminal.expect_exact("checking own-root")
    terminal.expect_exact("Lab 00")
    terminal.expect(pexpect.EOF)
    assert b"looking" not in terminal.before
    terminal.close()
    assert terminal.exitstatus == 1
