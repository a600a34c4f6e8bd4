"""look, side by side: what is shared and what differs is what the kernel has of both."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support.browser import Browser
from support.command import Minidock
from support.look_page import Page, axe_source, violations
from support.look_server import Served
from support.lsns import namespaces_of

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

EVIL = "<img src=x onerror=document.title='owned'>\u202egnp.exe"
KINDS = {
    "mnt": "mount", "pid": "PID", "net": "network", "uts": "UTS", "ipc": "IPC", "cgroup": "cgroup",
    "user": "user",
}  # fmt: skip
SIDES = "return beside.sides().map(({story, position}) => [position, story.steps.length])"


def run(minidock: Minidock, name: str, *flags: str, command: tuple[str, ...] = ()) -> int:
    """Start a container; the pid of its process."""
    minidock.ok("run", "-d", "--name", name, *flags, "busybox", *(command or ("sleep", "1000")))
    return int(minidock.ok("inspect", "-f", "{{.State.Pid}}", name))


def status(pid: int, field: str) -> str:
    found = re.search(rf"^{field}:\s+(\S+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found
    return found[1]


def mount_points(pid: int) -> set[str]:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines}


def cards(browser: Browser) -> dict[str, tuple[str, str]]:
    """Isolation -> what the panel says of it, for each of the two."""
    found: dict[str, list[str]] = browser.script(
        "return Object.fromEntries([...document.querySelectorAll('#details [data-row]')].map("
        "card => [card.dataset.row, [...card.querySelectorAll('dd')].map(e => e.textContent)]))"
    )
    return {row: (first, second) for row, (first, second) in found.items()}


def lists(browser: Browser, row: str) -> dict[str, set[str]]:
    """What an isolation's card lists below each of its headings."""
    found: dict[str, list[str]] = browser.script(
        "return Object.fromEntries([...document.querySelectorAll(`[data-row=${arguments[0]}] h4`)]"
        ".map(e => [e.textContent, [...e.nextSibling.children].map(li => li.textContent)]))",
        row,
    )
    return {heading: set(texts) for heading, texts in found.items()}


def shared(browser: Browser) -> set[str]:
    """The kinds of namespaces that the panel calls shared."""
    line = str(browser.script("return document.querySelector('.shared-line').textContent"))
    return set(re.findall(r"(\w+) namespace", line.partition(":")[2]))


def shared_now(first: int, second: int) -> set[str]:
    """The same, as lsns(8) has it."""
    one, two = namespaces_of(first), namespaces_of(second)
    return {name for kind, name in KINDS.items() if one[kind]["ns"] == two[kind]["ns"]}


def marked(browser: Browser) -> list[dict[str, str]]:
    """Of both pictures: tile -> its mark."""
    found: list[dict[str, str]] = browser.script(
        "return ['#scene', '#second'].map(id => Object.fromEntries([...document.querySelectorAll("
        "`${id} .twin-mark`)].filter(e => e.textContent)"
        ".map(e => [e.closest('.tile').dataset.tile, e.textContent])))"
    )
    return found


def test_run_beside_run_privileged_reads_at_a_glance(page: Page) -> None:
    """In the exported file; what it says is compared with /proc."""
    plain, box = run(page.minidock, "plain"), run(page.minidock, "box", "--privileged")
    page.show("plain", "box")
    browser = page.browser
    assert browser.script("return document.querySelector('#second').checkVisibility()") is False
    browser.press("b")
    said = cards(browser)
    kept = [int(status(pid, "CapEff"), 16).bit_count() for pid in (plain, box)]
    assert said["capabilities"] == (f"{kept[0]} of 41 left", f"{kept[1]} of 41 left")
    assert [status(pid, "Seccomp") for pid in (plain, box)] == ["2", "0"]
    assert re.fullmatch(r"\d+ BPF instructions", said["seccomp"][0])
    assert said["seccomp"][1] == said["masks"][1] == "none"
    only = lists(browser, "masks")
    assert list(only) == ["only in plain"]
    hidden = {text.split()[1] for text in only["only in plain"]}
    assert hidden == mount_points(plain) - mount_points(box) and len(hidden) > 3
    devices = lists(browser, "devices")
    assert "device rule deny a" in devices["only in plain"]
    nodes = {text.split()[1] for text in devices["only in box"] if text.startswith("device /")}
    assert "device rule allow a" in devices["only in box"] and nodes
    assert all(Path(f"/proc/{box}/root{node}").exists() for node in nodes)
    assert not any(Path(f"/proc/{plain}/root{node}").exists() for node in nodes)
    assert shared(browser) == shared_now(plain, box) == {"user"}
    first, second = marked(browser)
    assert first["masks"] == f"≠ {len(hidden)}" and "masks" not in second
    assert first["seccomp"] == "≠ 1" and second["capabilities"] == f"≠ {kept[1] - kept[0]}"
    pips = "#second .pip.differs[data-state=on]"
    assert len(page.things(pips)) == kept[1] - kept[0]
    assert not {"pid", "ipc", "cgroup", "layers", "pivot_root"} & set(said)
    assert [url for url in browser.requests() if not url.startswith("file:")] == []
    assert not browser.complaints()


# The positions of both after each step: [[position, what was done], the same of the other].
STEPS = (
    "player.setZoom(arguments[0]); const key = {isolations: (_, s) => s.rows.join(),"
    " phases: (story, s) => story.phases[s.phase].join(), operations: (_, s) => s.op}"
    "[arguments[0]];"
    "const stories = beside.sides().map(side => side.story);"
    "return beside.pairs.slice(1).map(pair => pair.map((at, side) =>"
    " [at, at ? key(stories[side], stories[side].steps[at - 1]) : '']))"
)


def test_two_stories_step_together_by_what_is_done(page: Page) -> None:
    run(page.minidock, "plain", "--net", "none")
    run(page.minidock, "box", "--privileged", "-m", "64m", "--net", "none")
    page.show("plain", "box")
    browser = page.browser
    browser.press("b")
    ends = [total for _, total in browser.script(SIDES)]
    for zoom in ("isolations", "phases", "operations"):
        together, before = 0, [0, 0]
        for (one, was), (two, done) in browser.script(STEPS, zoom):
            moved = [one > before[0], two > before[1]]
            assert any(moved) and one >= before[0] and two >= before[1]
            assert not all(moved) or was == done
            together += all(moved)
            before = [one, two]
        assert before == ends
        assert together > {"isolations": 20, "phases": 20, "operations": 100}[zoom]
    browser.press("1", "Home")
    assert cards(browser) == {}, "before the first operation both are alike"
    browser.press("ArrowRight", "ArrowRight")
    stepped = browser.script(SIDES)
    assert min(at for at, _ in stepped) > 0
    browser.press("ArrowRight", "ArrowLeft")
    assert browser.script(SIDES) == stepped
    browser.press("End")
    assert page.text("#position") == " · ".join(f"{end} / {end}" for end in ends)


def test_alignment_finds_a_longest_common_subsequence(page: Page) -> None:
    """Against a plain recursion, which has no limits and no trimming of equal ends."""
    run(page.minidock, "box", "--net", "none")
    page.show("box")
    chance = random.Random(7)
    pairs = [
        ["".join(chance.choices("abc", k=chance.randrange(9))) for _ in range(2)]
        for _ in range(300)
    ]
    found = page.browser.script(
        "return arguments[0].map(([one, two]) => aligned([...one], [...two]))", pairs
    )
    for (one, two), steps in zip(pairs, found, strict=True):
        assert [a for a, _ in steps if a is not None] == list(range(len(one)))
        assert [b for _, b in steps if b is not None] == list(range(len(two)))
        both = [(a, b) for a, b in steps if a is not None and b is not None]
        assert all(one[a] == two[b] for a, b in both)
        assert len(both) == _common(one, two), (one, two)


def _common(one: str, two: str) -> int:
    """The length of a longest common subsequence."""
    best = [[0] * (len(two) + 1) for _ in range(len(one) + 1)]
    for (a, x), (b, y) in itertools.product(enumerate(one), enumerate(two)):
        best[a + 1][b + 1] = best[a][b] + 1 if x == y else max(best[a][b + 1], best[a + 1][b])
    return best[-1][-1]


@pytest.mark.slow
def test_by_keys_alone_with_a_table_and_for_everybody(page: Page) -> None:
    axe = axe_source()
    if axe is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    run(page.minidock, "plain", "--net", "none")
    run(page.minidock, "box", "--privileged", "--net", "none")
    run(page.minidock, "third", "--net", "none", "--user", "7")
    page.show("plain", "box", "third")
    browser = page.browser
    found = {}
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        page.reopen()
        _tab_to(browser, "#beside-button")
        browser.press("Enter")
        found[f"{scheme}, side by side"] = violations(browser, axe)
    _tab_to(browser, "#second-container")
    browser.press("ArrowDown")
    assert cards(browser)["other"] == ("0:0", "7:0")
    _tab_to(browser, "#second .handle")
    browser.press("ArrowDown", "Enter")
    assert "The operations that made it" in page.text("#details")
    found["a thing of the second"] = violations(browser, axe)
    browser.press("Escape")
    _tab_to(browser, "#details [aria-expanded]")
    browser.press("Enter")
    opened = "#details [aria-expanded=true]"
    assert browser.script(f"return document.querySelector('{opened}') === document.activeElement")
    found["with a list"] = violations(browser, axe)
    browser.press("t")
    rows = browser.script(
        "return [...document.querySelector('#table table').tBodies[0].rows]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    assert ["capabilities", "capability CAP_CHOWN", "there", "none"] in rows
    assert ["the process", "user", "0:0", "7:0"] in rows
    captions = "return [...document.querySelectorAll('#table caption')].map(e => e.textContent)"
    assert browser.script(captions)[2] == browser.script(captions)[5], "a table for each picture"
    found["with the table"] = violations(browser, axe)
    browser.press("t", "l")
    found["with large type"] = violations(browser, axe)
    assert {view: each for view, each in found.items() if each} == {}
    browser.press("b", "l")
    browser.prefer()
    assert browser.script("return document.querySelector('#second').checkVisibility()") is False
    assert page.things("#scene [data-tile=host_processes] [data-state=on]"), "the host is back"


def _tab_to(browser: Browser, selector: str) -> None:
    for _ in range(150):
        if browser.script("return document.activeElement.matches(arguments[0])", selector):
            return
        browser.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


@pytest.fixture
def served(store: Store, minidock: Minidock, busybox_image: str) -> Iterator[Served]:
    site = Served(store)
    yield site
    site.stop()


def test_shared_namespaces_are_those_of_the_kernel_now(
    minidock: Minidock, busybox_image: str, served: Served, tmp_path: Path
) -> None:
    run(minidock, "private", "--net", "none")
    web = run(minidock, "web", "--ipc", "shareable")
    flags = ("--network", "container:web", "--pid", "container:web", "--ipc", "host")
    peer = run(minidock, "peer", *flags)
    minidock.ok("look", "--export", str(tmp_path / "look.html"), "peer", "web")
    with Browser(tmp_path) as browser:
        browser.open(f"file://{tmp_path}/look.html")
        browser.press("b")
        assert shared(browser) == shared_now(peer, web), "the file has it from the journals"
        assert "as the journals say" in browser.script("return document.body.textContent")
        browser.open(served.address)
        browser.await_true("stories.length == 3 && player.story")
        browser.press("b")
        browser.await_true("document.querySelector('.shared-line')?.textContent.includes('/proc')")
        assert _titles(browser) == ["peer", "web"]
        assert shared(browser) == shared_now(peer, web) == {"PID", "network", "user"}
        for marks in marked(browser):
            assert (marks["pid"], marks["net"]) == ("= shared", "= shared")
            assert "= " not in marks.get("uts", "") + marks.get("ipc", "")
        assert not {"pid", "net"} & set(cards(browser)), "it is the same interfaces"
        assert cards(browser)["ipc"] == ("IPC namespace the host's", "IPC namespace its own")
        browser.script("return beside.choose(stories.find(s => s.title.startsWith('private')))")
        browser.await_true("document.querySelector('.shared-line')?.textContent.includes('/proc')")
        assert shared(browser) == {"user"}
        _the_kernel_is_asked_and_not_the_journal(browser, minidock, peer)


def shared_by_journals(browser: Browser) -> set[str]:
    found = browser.script(
        "return sharedNamespaces(...beside.sides(), null).map(({kind}) => kind.split(' ')[0])"
    )
    return set(found)


def _titles(browser: Browser) -> list[str]:
    found: list[str] = browser.script(
        "return beside.sides().map(({story}) => story.title.split(':')[0])"
    )
    return found


def _the_kernel_is_asked_and_not_the_journal(
    browser: Browser, minidock: Minidock, peer: int
) -> None:
    """A process that moves itself into another container's namespace is in no journal."""
    command = ("nsenter", "-t", str(peer), "-u", "sleep", "1000")
    flags = ("--privileged", "--pid", "host", "--net", "none")
    box = run(minidock, "box", *flags, command=command)
    browser.await_true("player.story.title.startsWith('box')")
    browser.press("End")
    browser.script("return beside.choose(stories.find(s => s.title.startsWith('peer')))")
    browser.await_true("document.querySelector('.shared-line')?.textContent.includes('UTS')")
    assert shared(browser) == shared_now(box, peer) == {"UTS", "user"}
    assert "UTS" not in shared_by_journals(browser)
    minidock.ok("stop", "-t", "0", "box")
    browser.press("End")
    browser.await_true("document.querySelector('.shared-line')?.textContent.includes('journals')")
    assert not browser.complaints()
    minidock.ok("rm", "-f", "peer")
    browser.await_true("!document.documentElement.classList.contains('beside')")


def test_two_plans_are_what_their_runs_have_then(page: Page) -> None:
    minidock, browser = page.minidock, page.browser
    plans = ("run --net none busybox sleep 1000", "run --net none --privileged busybox sleep 1000")
    page.show(*(word for plan in plans for word in ("--plan", plan)))
    assert minidock.ok("ps", "-aq") == "", "nothing was run"
    for plan, story in zip(plans, browser.script("return stories"), strict=True):
        lines = minidock.ok("plan", *plan.replace("run", "run --json", 1).split()).splitlines()
        planned = [each for each in map(json.loads, lines) if "op" in each]
        assert [step["op"] for step in story["steps"]] == [each["op"] for each in planned]
        assert [step["twin"] for step in story["steps"]] == [each["twin"] for each in planned]
    browser.press("b")
    assert shared(browser) == {"user"} and "nothing was done" in page.text(".shared-line")
    said = cards(browser)
    kept = [
        int(status(run(minidock, name, "--net", "none", *flags), "CapEff"), 16).bit_count()
        for name, flags in (("plain", ()), ("box", ("--privileged",)))
    ]
    assert said["capabilities"] == (f"{kept[0]} of 41 left", f"{kept[1]} of 41 left")
    assert said["seccomp"][1] == said["masks"][1] == "none" and "deny a" in str(
        lists(browser, "devices")
    )
    page.show("--plan", plans[0], "plain")
    browser.press("b")
    assert set(cards(browser)) <= {"masks"}, "a plan does not know which masks find nothing"
    page.show("--plan", "run busybox nosuch")
    assert page.text("#details .failed").endswith(
        'exec: "nosuch": executable file not found in $PATH'
    )
    assert not browser.complaints()


def test_a_plan_that_cannot_be_shown_is_refused(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "look.html")
    for words, said in (
        (("--plan", "run busybox"), "--plan requires --export FILE"),
        (("--text", "--plan", "run busybox"), "--plan requires --export FILE"),
        (("--export", file, "--plan", "rm busybox"), 'it must begin with "run"'),
        (("--export", file, "--plan", ""), 'it must begin with "run"'),
        (("--export", file, "--plan", "run 'busybox"), "No closing quotation"),
        (("--export", file, "--plan", "run --nosuch busybox"), "unknown flag: --nosuch"),
        (("--export", file, "--plan", "run"), "requires at least 1 argument"),
        (("--export", file, "--plan", "run --json busybox"), "--json prints a plan"),
        (("--export", file, "--plan", "run nosuch"), "nosuch"),
    ):
        answer = minidock("look", *words)
        assert answer.code != 0 and said in answer.stderr, str(answer)
    assert not (tmp_path / "look.html").exists()


def test_hostile_names_draw_nothing_and_one_story_has_no_second(page: Page) -> None:
    run(page.minidock, "plain", "--net", "none")
    page.show("plain")
    browser = page.browser
    browser.press("b")
    assert "needs two containers" in page.text("#said")
    assert browser.script("return document.querySelector('#beside-button').hidden") is True
    hostile: Any = ("sh", "-c", "sleep 1000", EVIL)
    run(page.minidock, "box", "--net", "none", "--hostname", "a" * 63, "-v", f"data:/{EVIL}",
        command=hostile)  # fmt: skip
    page.show("plain", "box", "plain")
    browser.press("b", "t")
    text = page.text("#details") + page.text("#table")
    assert "onerror=document.title='owned'>\ufffdgnp.exe" in text and "\u202e" not in text
    assert browser.script("return document.querySelectorAll('img').length") == 0
    assert browser.script("return document.title") != "owned"
    assert not browser.complaints()
