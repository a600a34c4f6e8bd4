"""explain: what was done for a container, live and afterwards, for people and for machines."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from support.command import Minidock, command_line, environment
from support.patience import patience

pytestmark = pytest.mark.root

WIDTH = 100


def ops(text: str) -> list[tuple[str, int, str]]:
    """(actor, number, op) of each line of JSON."""
    records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return [(record["actor"], record["begin"], record["op"]) for record in records]


def test_a_run_tells_each_op_as_it_happens_and_the_command_speaks_in_between(
    minidock: Minidock, busybox_image: str
) -> None:
    result = minidock("run", "--rm", "--explain", "--net", "none", busybox_image, "echo", "hello")
    assert (result.code, result.stdout) == (0, "hello\n")
    for op in ("mount_overlay", "clone_process", "pivot_root", "set_hostname", "execute"):
        assert re.search(rf"^ +\d+   \w+\.{op}\(", result.stderr, re.M), op
    assert "pivot_root(2)" in result.stderr
    assert "$ exec env -i" in result.stderr


def test_live_and_afterwards_tell_the_same(minidock: Minidock, busybox_image: str) -> None:
    live = minidock("run", "--explain=json", "--net", "none", "--name", "told", busybox_image)
    afterwards = minidock.ok("explain", "--json", "told")
    assert sorted(ops(live.stderr)) == sorted(ops(afterwards))
    first = json.loads(afterwards.splitlines()[0])
    assert {"actor", "phase", "op", "args", "why", "twin", "man", "source", "us"} <= set(first)


def test_explain_fits_its_page_and_tells_each_op_of_the_journal(
    minidock: Minidock, busybox_image: str
) -> None:
    container = minidock.ok("run", "-d", "--net", "none", "--name", "told", busybox_image)
    minidock.ok("wait", "told")
    text = minidock.ok("explain", "--all", "told")
    for line in text.splitlines():  # a word of a command is never cut, all else fits
        word = line.strip().removeprefix("$ ").removesuffix(" \\")
        assert len(line) <= WIDTH or " " not in word, line
    assert not re.search(r"^ +\$ .*…", text, re.M)
    journal = Path(minidock.root, "containers", container, "journal.jsonl").read_text()
    begun = [json.loads(line) for line in journal.splitlines() if '"begin"' in line]
    numbered = re.findall(r"^ +(\d+)   (\w+\.\w+)\(", text, re.M)
    assert [int(number) for number, _ in numbered] == list(range(1, len(begun) + 1))
    assert sorted(op for _, op in numbered) == sorted(r["op"] for r in begun)
    assert f"{len(begun)} operations" in text


def test_each_call_of_a_journal_is_where_the_source_is_said_to_call_it(
    minidock: Minidock, busybox_image: str
) -> None:
    """What `explain OP` reads from the source, against the line that the running code was in."""
    flags = ("-p", "80", "-v", "data:/data", "-m", "64m", "-t", "--init", "--user", "1:1")
    container = minidock.ok("run", "-d", *flags, "--name", "told", busybox_image, "sleep", "60")
    minidock.ok("exec", "told", "true")
    minidock.ok("stop", "-t", "0", "told")
    journal = Path(minidock.root, "containers", container, "journal.jsonl").read_text()
    begun = [json.loads(line) for line in journal.splitlines() if '"begin"' in line]
    sites = {}
    for line in minidock.ok("explain", "--json").splitlines():
        op = json.loads(line)
        sites[op["op"]] = {
            (site["phase"], int(site["source"].rpartition(":")[2])) for site in op["called_in"]
        }
    for record in begun:
        phase = record["phase"].partition(".<locals>")[0]
        assert (phase, record["line"]) in sites[record["op"]], record
    assert len({record["op"] for record in begun}) > 40


def test_a_step_that_failed_ends_the_story_with_its_errno_and_a_hint(
    minidock: Minidock, busybox_image: str
) -> None:
    flags = ("--name", "told", "--net", "none", "--explain", "--tmpfs", "/x:size=nonsense")
    result = minidock("run", *flags, busybox_image)
    assert result.code == 125
    assert "failed: Invalid argument (EINVAL)" in result.stderr
    records = map(json.loads, minidock.ok("explain", "--json", "told").splitlines())
    ((number, refused),) = [(n, r) for n, r in enumerate(records, 1) if "errno" in r]
    said = "mount(2) tmpfs on /x: Invalid argument (EINVAL)"
    assert (refused["op"], refused["errno"]) == ("mount.mount_filesystem", 22)
    assert refused["said"] == said
    *_, ending = minidock.ok("explain", "--all", "told").split("\n\n")
    assert ending.splitlines() == [
        f"The command was not started: {said}",
        f"  It failed in operation {number}, mount.mount_filesystem of init; "
        "all earlier ones were undone.",
        "  Raises KernelError: ENODEV for an unknown file system, EINVAL for unknown data, EPERM.",
        "  see: minidock explain mount.mount_filesystem",
    ]


def test_a_command_that_does_not_exist_ends_the_story(
    minidock: Minidock, busybox_image: str
) -> None:
    assert minidock("run", "--name", "told", "--net", "none", busybox_image, "nonsuch").code == 127
    assert minidock.ok("explain", "--phases", "told").splitlines()[-1] == (
        'The command was not started: exec: "nonsuch": executable file not found in $PATH'
    )


def test_a_part_of_the_story_and_its_overview(minidock: Minidock, busybox_image: str) -> None:
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    text = minidock.ok("explain", "told", "pivot_root", "umount2")
    assert re.findall(r"^ +\d+   (\S+)\(", text, re.M)[:2] == ["mount.pivot_root", "mount.unmount"]
    assert re.search(r"^\d+ operations of \d{3}: ", text, re.M)
    overview = minidock.ok("explain", "--phases", "told")
    rows = re.findall(r"^(\w+) +([\w.]+) +(\d+) +[\d.]+ (?:µs|ms)", overview, re.M)
    assert {"engine", "monitor", "init"} == {actor for actor, *_ in rows}
    (total,) = re.findall(r"^(\d+) operations: ", overview, re.M)
    assert sum(int(count) for *_, count in rows) == int(total)
    assert minidock("explain", "told", "no_such_thing").code == 1
    assert minidock("explain", "--phases", "pivot_root").code == 1


def test_a_terminal_sees_it_in_colours(minidock: Minidock, busybox_image: str) -> None:
    pexpect = pytest.importorskip("pexpect")
    minidock.ok("run", "--net", "none", "--name", "told", busybox_image)
    plain = minidock.ok("explain", "--all", "told")
    command = [*command_line(), "explain", "--all", "told"]
    env = {**environment(minidock.root), "NO_COLOR": ""}
    seen = pexpect.run(shlex.join(command), env=env, timeout=patience(30)).decode()
    assert "\x1b[1;32minit · runtime.rootfs" in seen
    seen = re.sub(r"\x1b\[[0-9;]*m", "", seen).replace("\r\n", "\n").rstrip("\n")
    assert [line.rstrip() for line in seen.splitlines()] == plain.splitlines()


def test_a_container_that_never_ran_has_nothing_to_tell(
    minidock: Minidock, busybox_image: str
) -> None:
    minidock.ok("create", "--name", "new", busybox_image)
    result = minidock("explain", "new")
    assert result.code == 1
    assert "it was never started" in result.stderr


def test_an_operation_is_explained_by_its_name_and_by_its_man_page(minidock: Minidock) -> None:
    for name in ("pivot_root", "mount.pivot_root", "pivot_root(2)"):
        text = minidock.ok("explain", name)
        assert text.startswith("mount.pivot_root(new_root, put_old) · pivot_root(2)\n")
        assert "EINVAL" in text
        assert "Without it: the host's file system stays reachable." in text
        assert re.search(r"called in +runtime/rootfs.py:\d+  enter_steps\n +Change the root", text)
        assert "man 2 pivot_root" in text
    result = minidock("explain", "no_such_thing")
    assert result.code == 1 and "No such container or operation" in result.stderr


def test_all_operations_are_listed(minidock: Minidock) -> None:
    text = minidock.ok("explain")
    listed = re.findall(r"^    (\w+\.\w+) · [\w-]+\(\d\)$", text, re.M)
    assert len(listed) > 70 and "mount.pivot_root" in listed
    machine = [json.loads(line)["op"] for line in minidock.ok("explain", "--json").splitlines()]
    assert machine == listed


def test_a_story_in_russian(minidock: Minidock, busybox_image: str) -> None:
    """All but the kernel's words: calls, shell commands, what the kernel made."""
    russian = {"LANG": "ru_RU.UTF-8", "LC_ALL": "", "LANGUAGE": ""}
    flags = ("-p", "80", "-v", "data:/data", "-m", "64m", "--name", "told")
    live = minidock("run", "--explain", *flags, busybox_image, "true", env=russian)
    minidock.ok("wait", "told")
    text = minidock.ok("explain", "--all", "--lang", "ru", "told")
    assert minidock.ok("explain", "--all", "told", env=russian) == text
    for told in (live.stderr, text):
        lines = told.partition("\n\n")[2].partition("дольше всех")[0].splitlines()
        english = [line for line in lines if re.search("[a-z]", line) and not SAME.match(line)]
        assert english and not [line for line in english if not re.search("[а-яё]", line)]
    assert re.search(r"^\d+ операци(я|и|й): ", text, re.M)


# Lines that are the same in all languages.
SAME = re.compile(
    r" +\d+   \w+\.\w+\(| +\$ | +# |           |         -> [^a-z]|         -> process"
    r"|\w+ · [\w.]+ ─|  [\w.]+$|\w+ +[\w.]+ +\d+ +[\d.]+ .s  (cgroup v1|cgroup v2|systemd|Init)$"
    r"|  (\(v2\)|`\w+`)\.$"  # the end of a sentence that is folded
)


def test_a_language_that_cannot_be_had_is_refused_before_anything_is_made(
    minidock: Minidock, busybox_image: str
) -> None:
    wrong = minidock("run", "--explain", "--lang", "xx", busybox_image)
    assert wrong.code == 125 and "available: en, ru" in wrong.stderr
    alone = minidock("run", "--lang", "ru", busybox_image)
    assert alone.code == 125 and "add --explain" in alone.stderr
    assert minidock.ok("ps", "-aq") == ""
