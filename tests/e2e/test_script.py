"""`script run`: the shell script makes the container that `run` makes, and leaves nothing behind.

Both are asked for what the kernel says of them; ids, and what docs/script.md lists, aside.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from minidock.paths import Store
from minidock.teach.script.lines import NO_TWIN
from support import machine, stores
from support.command import REPOSITORY, Minidock, command_line, environment
from support.fingerprint import fingerprint, own_names
from support.patience import await_true, long, patience
from support.ports import free_port

pytestmark = pytest.mark.root

# So that no run beside this one takes the subnet that was planned; 10.213 has dockerd's.
SUBNET = f"10.214.{os.getpid() % 250}.0/24"

IN_SLEEP = ["sleep", "1000"]


class Script:
    """A script, running. names: what is this run's own, for a fingerprint."""

    def __init__(self, text: str, directory: Path) -> None:
        self.id = secrets.token_hex(32)
        self.box = f"/var/tmp/box-{self.id[:12]}"
        self.file = directory / "box.sh"
        self.file.write_text(text)
        environment = {"PATH": os.environ["PATH"], "ID": self.id}
        self.process = subprocess.Popen(
            ["sh", str(self.file)], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.names = own_names(self.id, self.box) | {f"{self.box}/volumes/1": "VOLUME"}
        for name in ("GATEWAY", "ADDRESS", "MAC"):
            if match := re.search(rf"^{name}=(\S+)", text, re.M):
                self.names[match[1]] = name

    def pid(self) -> int:
        """The command's process, once it runs."""
        deadline = time.monotonic() + patience(20)
        while time.monotonic() < deadline and self.process.poll() is None:
            for pid, name in self._processes():
                if name == "sleep":
                    return pid
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError(self.process.communicate())

    def _processes(self) -> list[tuple[int, str]]:
        """Who is in its cgroups, and what they execute."""
        found = []
        for where in [top for top, _, _ in os.walk("/sys/fs/cgroup") if top.endswith(self.id)]:
            try:
                for pid in Path(f"{where}/cgroup.procs").read_text().split():
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    found.append((int(pid), name))
            except (FileNotFoundError, ProcessLookupError):
                continue  # a stage's helper has ended meanwhile
        return found


def _native(store: Store, minidock: Minidock, flags: list[str]) -> dict[str, Any]:
    """The fingerprint of what `run` makes."""
    container = minidock.ok("run", "-d", *flags)
    known = json.loads(minidock.ok("inspect", container))[0]
    names = own_names(container, store.container(container).home)
    names[f"{store.volume('data')}/_data"] = "VOLUME"
    network = known["NetworkSettings"]
    for key, name in (("Gateway", "GATEWAY"), ("IPAddress", "ADDRESS"), ("MacAddress", "MAC")):
        if network.get(key):
            names[network[key]] = name
    found = fingerprint(store, known["State"]["Pid"], names)
    minidock.ok("rm", "-f", container)
    return found


def _compare(store: Store, minidock: Minidock, flags: list[str], directory: Path) -> str:
    """Run the script, look, end it by a signal; then run it natively, look. Returns the script."""
    directory.mkdir(exist_ok=True)
    text = minidock.ok("script", "run", *flags) + "\n"
    before = machine.snapshot()
    run = Script(text, directory)
    found = fingerprint(store, run.pid(), run.names)
    run.process.terminate()
    out, errors = run.process.communicate(timeout=patience(20))
    assert (run.process.returncode, out, errors) == (143, "", "")
    marks = {*stores.marks(store), run.box, run.id[:12], run.id[:11]}
    assert machine.left_behind(before, machine.snapshot(), marks) == []
    assert machine.left_behind(machine.snapshot(), before, marks) == []  # nor is more gone
    assert not os.path.exists(run.box)
    native = _native(store, minidock, flags)
    different = {key: (found[key], native[key]) for key in native if found[key] != native[key]}
    assert not different, json.dumps(different, indent=1)
    return text


def test_script_makes_the_container_that_run_makes(
    store: Store,
    minidock: Minidock,
    busybox_image: str,
    require: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_SUBNET", SUBNET)
    for name in ("source", "other"):  # not /tmp, below which other tests mount and unmount
        (tmp_path / name).mkdir()
    first = [
        "-p", f"{free_port()}:80", "-m", "64m", "--pids-limit", "50", "--cpus", "0.5",
        "-v", f"{tmp_path}/source:/source:ro", "-v", f"{tmp_path}/other:/t", "-v", "data:/var",
        "--tmpfs", "/x:size=1m,ro",
        "--hostname", "box", "-e", "A=b 'c' \"d\" $e", "-w", "/new/place",
        "--ulimit", "nofile=100:200", "--oom-score-adj", "100", "busybox", *IN_SLEEP,
    ]  # fmt: skip
    texts = [_compare(store, minidock, first, tmp_path / "first")]  # it makes the bridge
    minidock.ok("run", "-d", "-p", f"{free_port()}:80", "busybox", *IN_SLEEP)
    second = [
        "-p", f"127.0.0.1:{free_port()}:80", "-u", "1000:7", "--group-add", "9", "--read-only",
        "--cap-drop", "all", "--cap-add", "chown", "--security-opt", "no-new-privileges",
        "--device", "/dev/zero:/dev/nil", "--storage-opt", "size=8m", "busybox", *IN_SLEEP,
    ]  # fmt: skip
    texts.append(_compare(store, minidock, second, tmp_path / "second"))
    third = ["--network", "none", "--cgroupns", "host", "--uts", "host", "busybox", *IN_SLEEP]
    texts.append(_compare(store, minidock, third, tmp_path / "third"))
    if not os.environ.get("MINIDOCK_VM"):  # which has no shellcheck, and writes the same
        _check_shell(require("shellcheck"), texts, tmp_path)


def _check_shell(shellcheck: str, texts: list[str], tmp_path: Path) -> None:
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.sh").write_text(text)
    files = [str(tmp_path / f"{number}.sh") for number in range(len(texts))]
    checked = subprocess.run([shellcheck, *files], capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout


def test_script_that_fails_halfway_leaves_nothing(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    text = minidock.ok("script", "run", "-m", "64m", "busybox", "true") + "\n"
    assert text.count("    pivot_root . .\n") == 1
    before = machine.snapshot()
    run = Script(text.replace("    pivot_root . .\n", "    pivot_root . /nowhere\n"), tmp_path)
    _, errors = run.process.communicate(timeout=patience(20))
    assert run.process.returncode == 125
    assert "the container's side ended with 1 before it was ready" in errors
    marks = {*stores.marks(store), run.box, run.id[:12], run.id[:11]}
    assert machine.left_behind(before, machine.snapshot(), marks) == []
    assert not os.path.exists(run.box)


def test_script_ends_with_the_commands_exit_code(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    words = ["--network", "none", "busybox", "sh", "-c", 'echo "$0 $1"; read x; echo $x; exit 7']
    text = minidock.ok("script", "run", "-it", *words, "a  b", "$c'd")
    (tmp_path / "box.sh").write_text(text + "\n")
    done = subprocess.run(
        ["sh", tmp_path / "box.sh"], input="line\n", capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "a  b $c'd\nline\n", "")


def _killed_script(minidock: Minidock, flags: list[str], directory: Path) -> Script:
    directory.mkdir(exist_ok=True)
    return Script(minidock.ok("script", "run", *flags) + "\n", directory)


def _guard_of(run: Script) -> int:
    """The process that waits for the end of a script's engine."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[1:3] == [f"{run.box}/tools/box.sh".encode(), b"guard"]:
            return int(process.name)
    raise AssertionError("no guard")


@pytest.mark.parametrize("user", ["0", "1000"])
def test_a_killed_scripts_container_dies_and_its_traces_go(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path, user: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Another user's, too: the kernel forgets PR_SET_PDEATHSIG where credentials change."""
    monkeypatch.setenv("MINIDOCK_SUBNET", SUBNET)
    (tmp_path / "new").mkdir()
    source = tmp_path / "new/so 'urce"
    flags = ["-m", "64m", "--user", user, "-p", f"{free_port()}:80", "-v", f"{source}:/s"]
    before = machine.snapshot()
    for guarded in (True, False):
        run = _killed_script(minidock, [*flags, "busybox", *IN_SLEEP], tmp_path / str(guarded))
        container = os.pidfd_open(run.pid())
        record = Path(f"/run/minidock-script-{run.id}")
        fields = Path(f"/proc/{run.process.pid}/stat").read_text().rpartition(")")[2].split()
        assert record.read_text() == f"{run.process.pid} {fields[19]}\n{run.box}\n{store.root}\n"
        marks = {*stores.marks(store), run.box, run.id[:12], run.id[:11]}
        if not guarded:
            os.kill(_guard_of(run), signal.SIGKILL)
        run.process.kill()
        assert select.select([container], [], [], patience(20))[0], "the container lives"
        os.close(container)
        if not guarded:
            assert os.path.exists(run.box) and source.is_dir()
            clean = ["sh", str(run.file), "--clean"]
            done = subprocess.run(clean, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        await_true(lambda at=record: not at.exists(), "its record stays", seconds=20)  # type: ignore[misc]
        await_true(
            lambda: machine.left_behind(before, machine.snapshot(), marks) == [],  # noqa: B023
            "left",
            seconds=20,
        )
        assert not os.path.exists(run.box) and not source.exists()
        run.process.communicate()


def _killing_itself(text: str) -> list[str]:
    """The script with its own end before each line of its engine that comes while its command runs,
    one after the other."""
    lines = text.split("\n")
    last = next(number for number, line in enumerate(lines) if line.startswith('    wait "$child"'))
    found = []
    for number in range(lines.index("engine() {") + 1, last + 1):
        begins = re.match(r"    (?!fi\b)[a-z:!]", lines[number])
        if begins and not lines[number - 1].endswith("\\"):
            found.append("\n".join([*lines[:number], "    kill -KILL $$", *lines[number:]]))
    return found


def test_a_script_that_is_killed_at_any_moment_is_taken_down(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    flags = ["-m", "64m", "--shm-size", "8m", "-v", "data:/var", "busybox", *IN_SLEEP]
    whole = minidock.ok("script", "run", *flags) + "\n"
    (tmp_path / "whole.sh").write_text(whole)
    moments = _killing_itself(whole)
    assert len(moments) > 40
    before = machine.snapshot()
    for text in moments[:: long(7, 1)]:
        run = Script(text, tmp_path)
        _, errors = run.process.communicate(timeout=patience(20))
        assert (run.process.returncode, errors) == (-signal.SIGKILL, ""), text
        clean = ["sh", str(tmp_path / "whole.sh"), "--clean"]
        done = subprocess.run(clean, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        marks = {*stores.marks(store), run.box, run.id[:12], run.id[:11]}
        await_true(
            lambda: machine.left_behind(before, machine.snapshot(), marks) == [],  # noqa: B023
            text,
            seconds=20,
        )
        done_before = text.partition("engine() {")[2].partition("    kill -KILL")[0]
        if '> "$RECORDS$ID"' in done_before:
            assert not os.path.exists(run.box)
        elif os.path.exists(run.box):  # it had not said yet what is its own
            os.rmdir(run.box)


def test_jumps_of_other_bridges_may_go_before_a_script_runs(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """Positions in FORWARD are those of the moment in which it runs."""
    chains = [f"MINIDOCK-test{os.getpid()}-{number}-USER" for number in range(4)]

    def iptables(*words: str) -> None:
        subprocess.run(["iptables", "-w", *words], check=True)

    for chain in chains:
        iptables("-N", chain)
        iptables("-I", "FORWARD", "-j", chain)
    script = minidock.ok("script", "run", "busybox", "true") + "\n"
    for chain in chains:
        iptables("-D", "FORWARD", "-j", chain)
        iptables("-X", chain)
    _, errors = Script(script, tmp_path).process.communicate(timeout=patience(20))
    assert errors == ""


ANY_TEXT = st.binary(max_size=30).map(lambda b: os.fsdecode(b.replace(b"\0", b"")))
SHELL_TEXT = st.text("'\"\\$`\n\t !@%#~*?[]{}()<>|&;=-aZ0é\x81Ё", max_size=20)
VALUE = ANY_TEXT | SHELL_TEXT
FILE = VALUE.map(lambda name: f"f{name.replace('/', '')}")  # neither "." nor ".."
NAME = st.text("abZ_.-+0", min_size=1, max_size=5) | st.sampled_from(["PWD", "IFS", "SHLVL", "_"])


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_every_byte_but_nul_reaches_the_container(
    minidock: Minidock, busybox_image: str, require: Callable[[str], str], tmp_path: Path,
    shell: str,
) -> None:  # fmt: skip
    """Many values at once, as each run takes its time."""
    shellcheck = require("shellcheck") if not os.environ.get("MINIDOCK_VM") else ""
    look = "cat /proc/$$/environ; pwd; cat /proc/$$/cmdline; cut -d ' ' -f 5-6 /proc/$$/mountinfo"

    @settings(max_examples=long(2, 40), deadline=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        variables=st.dictionaries(NAME, VALUE, min_size=10, max_size=20),
        arguments=st.lists(VALUE, min_size=10, max_size=20),
        names=st.lists(FILE, min_size=4, max_size=4, unique=True),
    )
    def same(variables: dict[str, str], arguments: list[str], names: list[str]) -> None:
        work, source, target, label = names
        flags = ["--network", "none", "--hostname", "box", "-w", f"/{work}", "-l", f"l={label}"]
        for name, value in variables.items():
            flags += ["-e", f"{name}={value}"]
        os.makedirs(tmp_path / source, exist_ok=True)
        flags += ["--mount", _csv("type=bind", f"src={tmp_path}/{source}", f"dst=/mnt/{target}")]
        words = [*flags, "busybox", "/bin/sh", "-c", look, *arguments]
        native = _bytes(minidock, ["run", "--rm", *words])
        (tmp_path / "box.sh").write_bytes(_bytes(minidock, ["script", "run", *words]))
        if shellcheck:
            _check_shell(shellcheck, [(tmp_path / "box.sh").read_text()], tmp_path)
        done = subprocess.run([shell, tmp_path / "box.sh"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert sorted(done.stdout.split(b"\0")) == sorted(native.split(b"\0"))

    same()


def _csv(*fields: str) -> str:
    return ",".join('"' + field.replace('"', '""') + '"' for field in fields)


def _bytes(minidock: Minidock, arguments: list[str]) -> bytes:
    done = subprocess.run(
        [*command_line(), *arguments], env=environment(minidock.root), capture_output=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout


def test_links_of_the_image_lead_a_script_to_no_place_of_the_host(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (tmp_path / "context/tree/etc").mkdir(parents=True)
    (tmp_path / "context/tree/etc/hosts").symlink_to(f"{outside}/hosts")  # dangling
    (tmp_path / "context/tree/way").symlink_to(tmp_path)
    (tmp_path / "context/Dockerfile").write_text("FROM busybox\nCOPY tree /\n")
    minidock.ok("build", "-q", "-t", "linked", str(tmp_path / "context"))
    look = ["linked", "sh", "-c", f"grep -c localhost {outside}/hosts; ls -d /way/place"]
    flags = ["--network", "none", "-v", "/tmp:/way/place", *look]
    text = minidock.ok("script", "run", *flags)
    (tmp_path / "box.sh").write_text(text + "\n")
    done = subprocess.run(["sh", tmp_path / "box.sh"], capture_output=True, text=True, check=False)
    assert done.stdout.removesuffix("\n") == minidock.ok("run", "--rm", *flags)
    assert (done.stdout, done.stderr, done.returncode) == ("2\n/way/place\n", "", 0)
    assert sorted(os.listdir(tmp_path)) == ["box.sh", "context"]


def test_what_a_script_could_only_half_say_is_refused(
    store: Store, minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("run", "-d", "--name", "other", "--network", "none", "busybox", *IN_SLEEP)
    refused = {
        "a script cannot let the kernel choose a port": ["-p", "80", "busybox"],
        "a script cannot join another container's namespaces": [
            "--pid",
            "container:other",
            "busybox",
        ],
        'the run would fail: exec: "nosuch": executable file not found': ["busybox", "nosuch"],
        "No such image: nosuch": ["nosuch"],
    }
    for words, arguments in refused.items():
        result = minidock("script", "run", *arguments)
        assert (result.code, result.stdout) == (1, ""), result
        assert words in result.stderr


def test_documentation_lists_what_has_no_twin() -> None:
    text = (REPOSITORY / "docs/script.md").read_text()
    table = text.partition("## What has no shell twin")[2].partition("## What is refused")[0]
    assert set(re.findall(r"`(\w+\.\w+)`", table)) == set(NO_TWIN)
