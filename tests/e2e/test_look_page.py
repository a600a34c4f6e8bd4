"""look --export in a browser: the picture is what the kernel has, and all ways through it work."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minidock.kernel.capability import names_of
from minidock.teach.language import language
from minidock.teach.look.export import export
from minidock.teach.subject import Subject
from support.browser import Browser
from support.command import Minidock
from support.look_page import Page
from support.lsns import namespaces_of
from support.made_journal import CLONE, entries

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

EVIL = "<img src=x onerror=document.title='owned'>\u202egnp.exe"
# The types of lsns(8), and the kinds of the picture.
TYPES = {
    "pid": "PID", "mnt": "mount", "net": "network", "uts": "UTS", "ipc": "IPC", "cgroup": "cgroup",
}  # fmt: skip


def run(minidock: Minidock, *flags: str) -> int:
    """Start a container "box"; its process's pid."""
    minidock.ok("run", "-d", "--name", "box", *flags, "busybox", "sleep", "1000")
    return int(minidock.ok("inspect", "-f", "{{.State.Pid}}", "box"))


def own_namespaces(pid: int) -> set[str]:
    """The types of namespaces that a process does not share with us, as lsns lists them."""
    theirs, ours = namespaces_of(pid), namespaces_of(os.getpid())
    return {TYPES[name] for name in TYPES if theirs[name]["ns"] != ours[name]["ns"]}


def effective(pid: int) -> set[str]:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)
    assert found is not None
    return set(names_of(int(found[1], 16)))


@pytest.mark.parametrize(
    "flags",
    [
        ("-p", "127.0.0.1:0:80", "-v", "data:/data", "-m", "64m"),
        ("--user", "1:1", "--net", "none", "--ipc", "host"),
        ("--pid", "host", "--uts", "host", "--cap-drop", "ALL", "--cap-add", "CHOWN"),
        ("--privileged", "--cgroupns", "host"),
    ],
)
def test_the_last_picture_is_what_the_kernel_has(page: Page, flags: tuple[str, ...]) -> None:
    pid = run(page.minidock, *flags)
    page.show("box")
    outlines = {kind for kind in TYPES.values() if page.on(f"{kind} namespace")}
    assert outlines == own_namespaces(pid)
    assert page.on("capability") == effective(pid)
    _files_are_the_kernels(page, pid)
    _network_is_the_kernels(page, pid)
    assert page.on("command") == {"command"}
    assert page.things("[data-tile=pivot_root] [data-state=on]") == ["root:/"]
    seccomp = re.search(r"^Seccomp:\s+(\d)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert seccomp is not None and bool(page.on("filter")) == (seccomp[1] == "2")


def _files_are_the_kernels(page: Page, pid: int) -> None:
    lines = Path(f"/proc/{pid}/mountinfo").read_text().splitlines()
    mounts = {line.split()[4] for line in lines}
    (overlay,) = [line for line in lines if line.split()[4] == "/"]
    layers = re.findall(r"lowerdir\+?=([^,]+)", overlay)
    lower = [path for group in layers for path in group.split(":")]
    shown = page.on("layer")
    assert shown == {"upper", *(Path(path).parent.name[:12] for path in lower)}
    page.browser.click("#table-button")
    assert page.listed("mount") | page.listed("mask") == mounts
    assert page.listed("layer") == shown


def _network_is_the_kernels(page: Page, pid: int) -> None:
    if "network" not in own_namespaces(pid):
        return
    command = ["nsenter", "-t", str(pid), "-n", "ip", "-j", "address"]
    links = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    up = {link["ifname"]: link for link in links if "UP" in link["flags"]}
    assert page.on("interface") == set(up)
    for veth in page.on("veth"):
        shown = subprocess.run(["ip", "-j", "link", "show", veth], capture_output=True, check=True)
        assert json.loads(shown.stdout)[0]["master"] in page.on("bridge")
        address = up["eth0"]["addr_info"][0]
        assert f"{address['local']}/{address['prefixlen']}" in page.text("[data-tile=net]")


def test_a_namespace_that_is_joined_is_not_shown_as_its_own(page: Page) -> None:
    page.minidock.ok("run", "-d", "--name", "first", "busybox", "sleep", "1000")
    pid = run(page.minidock, "--network", "container:first")
    first = int(page.minidock.ok("inspect", "-f", "{{.State.Pid}}", "first"))
    page.show("box")
    assert namespaces_of(pid)["net"]["ns"] == namespaces_of(first)["net"]["ns"]
    label = page.browser.script(
        "return document.querySelector('[data-tile=net] .handle').getAttribute('aria-label')"
    )
    assert "joined" in label


def test_a_container_that_has_ended_is_shown_complete_first_and_gone_at_the_end(page: Page) -> None:
    run(page.minidock, "-p", "127.0.0.1:0:80")
    before = page.minidock.ok("look", "--text", "box")
    (veth,) = re.findall(r"veth\w+", page.minidock.ok("look", "--text", "--unfold", "net", "box"))[
        :1
    ]
    page.minidock.ok("stop", "-t", "0", "box")
    phrases = re.compile(r"^[-+ ] \w+ +\d+  (.*)$", re.MULTILINE)
    assert phrases.findall(page.minidock.ok("look", "--text", "box")) == phrases.findall(before)
    page.show("box")
    assert page.on("command") and page.on("veth") == {veth} and page.on("PID namespace")
    page.browser.press("End")
    assert subprocess.run(["ip", "link", "show", veth], capture_output=True).returncode != 0
    gone = (
        "command",
        "init",
        "veth",
        "interface",
        "mount",
        "host cgroup",
        "limit",
        "root",
        "layer",
    )
    assert {kind for kind in (*gone, "PID namespace", "mount namespace") if page.on(kind)} == set()


def test_it_asks_no_host_for_anything_and_could_not(page: Page) -> None:
    run(page.minidock, "--net", "none")
    page.show("box")
    assert page.browser.requests() == [f"file://{page.file}"]
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/x"
        page.browser.script(
            "const i = new Image(); i.src = arguments[0]; document.body.append(i);"
            "const s = document.createElement('script'); s.textContent = 'document.title = 1';"
            "document.body.append(s); fetch(arguments[0]).catch(() => {})",
            address,
        )
        page.browser.await_true("document.images[0].complete")
        complaints = " ".join(page.browser.complaints())
        server.shutdown()
    assert asked == []
    for kind in ("img-src", "script-src", "connect-src"):
        assert kind in complaints
    assert page.browser.script("return document.title") != "1"


def test_a_hostile_argument_draws_nothing_and_runs_nothing(page: Page) -> None:
    flags = ("-e", f"X={EVIL}", "-v", "data:/<b>x", "-w", "/</script>")
    command = ("sh", "-c", "exec sleep 1000", EVIL)
    page.minidock.ok("run", "-d", "--name", "box", *flags, "busybox", *command)
    page.show("box", hash="#9999-operations")
    assert page.browser.script("return document.images.length") == 0
    assert page.browser.script("return document.querySelectorAll('script').length") == 2
    assert page.browser.script("return document.querySelectorAll('b').length") == 0
    assert "<img src=x" in page.text("#details") and "\u202e" not in page.text("#details")
    page.browser.click("#table-button")
    assert "/<b>x" in page.text("#table")
    page.browser.click("[data-kind=command]")
    assert "<img src=x" in page.text("#details")
    assert page.browser.script("return document.title") == "box: sh · busybox"
    assert page.browser.complaints() == []


def test_each_click_leads_somewhere(page: Page) -> None:
    run(page.minidock)
    page.minidock.ok("run", "-d", "--name", "second", "--net", "none", "busybox", "sleep", "1000")
    page.show("box", "second")
    browser = page.browser
    total = page.position()
    browser.click("[data-tile=pivot_root] .box")
    details = page.text("#details")
    for words in (
        "pivot_root . .",
        "man 2 pivot_root",
        "chroot(2)",
        "climb out",
        "--without pivot_root",
    ):
        assert words in details
    browser.click("#details .copy")
    browser.await_true("document.querySelector('#details .copy').textContent === 'Copied'")
    browser.click("#details .seek")
    assert 0 < page.position() < total
    assert "root:/" in page.things("#scene .lit[data-thing]")
    browser.click("#details .thing")  # an operation's thing
    assert "The operations that made it" in page.text("#details")
    browser.click("#details .back")
    _click_controls(page, total)
    browser.click("#container option[value='1']")
    assert page.text("#title") == "second: sleep · busybox"
    assert page.on("veth") == set()


def _click_controls(page: Page, total: int) -> None:
    browser = page.browser
    browser.click("#first")
    assert page.position() == 0 and not page.on("init")
    for zoom in ("operations", "phases", "isolations"):
        browser.click(f"[data-zoom={zoom}]")
        browser.click("#first")
        browser.click("#forward")
        first = page.position()
        browser.click("#forward")
        assert 0 < first < page.position()
        browser.click("#back")
        assert page.position() == first
    browser.click("#last")
    assert page.position() == total
    browser.click("#lanes")  # its middle
    assert 0 < page.position() < total
    browser.click("#first")
    browser.click("#speed option[value='4']")
    browser.click("#play")
    browser.await_true("parseInt(document.querySelector('#position').textContent) > 0")
    browser.click("#play")
    for mode, attribute in (("#large-button", "aria-pressed"), ("#table-button", "aria-expanded")):
        browser.click(mode)
        assert browser.script(f"return document.querySelector('{mode}[{attribute}=true]') !== null")
        browser.click(mode)
    browser.click("#keys-button")
    assert browser.script("return document.querySelector('dialog').open")
    browser.click("#keys button")
    browser.click("#last")


def test_the_keyboard_is_enough(page: Page) -> None:
    run(page.minidock)
    page.show("box")
    browser = page.browser
    total = page.position()
    browser.press("Home")
    assert page.position() == 0
    browser.press("3", "ArrowRight", "ArrowRight", "ArrowLeft")
    assert page.position() == 1
    browser.press("End")
    assert page.position() == total
    browser.press("1", "ArrowLeft")
    assert page.position() < total
    browser.press("Home", "+", "+", "Space")
    browser.await_true("parseInt(document.querySelector('#position').textContent) > 0")
    browser.press("Space", "End")
    focused = (
        "const on = document.activeElement; return on.classList.contains('handle')"
        " ? on.parentNode.dataset.tile : on.dataset.thing ?? ''"
    )
    reached = set()
    for _ in range(40):
        browser.press("Tab")
        reached.add(browser.script(focused))
    tiles = set(
        browser.script("return [...document.querySelectorAll('.tile')].map(e => e.dataset.tile)")
    )
    assert tiles <= reached and len(tiles) == 17
    browser.script("document.querySelector('[data-tile=net] .handle').focus()")
    browser.press("ArrowDown")
    assert browser.script(focused)
    browser.press("Enter")
    assert "The operations that made it" in page.text("#details")
    browser.press("Escape")
    assert "The operations that made it" not in page.text("#details")
    browser.press("t")
    assert not browser.script("return document.querySelector('#table').hidden")
    browser.press("t", "l")
    assert browser.script("return document.documentElement.classList.contains('large')")
    browser.press("l", "?")
    assert browser.script("return document.querySelector('dialog').open")
    browser.press("Escape")
    assert not browser.script("return document.querySelector('dialog').open")


def test_it_follows_what_the_reader_prefers(page: Page) -> None:
    run(page.minidock, "--net", "none")
    page.show("box", flags=("--lang", "ru"))
    browser = page.browser
    assert browser.script("return document.documentElement.lang") == "ru"
    assert page.text("[data-zoom=isolations]") == "Изоляции"
    paper = "return getComputedStyle(document.body).backgroundColor"
    moves = "return getComputedStyle(document.querySelector('.chip')).transitionDuration"

    browser.prefer(prefers_color_scheme="light", prefers_reduced_motion="no-preference")
    light, moving = browser.script(paper), browser.script(moves)
    browser.prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    dark, still = browser.script(paper), browser.script(moves)
    assert light != dark and moving != "0s" and still == "0s"
    browser.press("d")
    assert browser.script(paper) == light
    browser.prefer()


def test_waiting_is_drawn_as_waiting(page: Page) -> None:
    run(page.minidock)
    page.show("box")
    waits: list[dict[str, Any]] = page.browser.script(
        "return player.story.steps.filter(step => step.wait).map(step => step.us)"
    )
    shown = "[...document.querySelectorAll('#lanes .wait title')].map(e => e.textContent)"
    titles = page.browser.script(f"return {shown}")
    assert len(titles) == len(waits) > 0
    assert all(title.startswith("waits ") for title in titles)


def test_ten_thousand_operations_are_few_elements(
    browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The elements do not grow with the journal; the time of the script is only recorded."""
    mount = {"source": "t", "root": "/r", "fstype": "tmpfs", "flags": 0, "data": ""}
    many = [
        ("init", "mount.mount_filesystem", {**mount, "target": f"/m{n}"}, {}) for n in range(5000)
    ]
    folder = f"/sys/fs/cgroup/x/{'0' * 64}"
    more = [
        ("init", "cgroup.write_file", {"path": f"{folder}/memory.f{n}", "value": "1"}, {})
        for n in range(4999)
    ]
    ops = entries(("monitor", "namespace.clone_process", CLONE, {"made": 7}), *many, *more)
    assert len(ops) == 10000
    file = tmp_path / "many.html"
    file.write_bytes(export([Subject("many", {}, ops)], language=language("en")))
    browser.open(f"file://{file}")
    count = "return document.querySelectorAll('*').length"
    assert browser.script("return player.story.steps.length") == 10000
    opened = browser.script(count)
    browser.press("3", "ArrowLeft", "ArrowLeft", "1", "2")
    browser.click("[data-tile=mount] .tile-title")
    selected = browser.script(count)
    browser.click("#table-button")
    assert opened < 1000 and selected < 2000 and browser.script(count) < 8000
    timing = browser.script(
        "const t = performance.getEntriesByType('navigation')[0]; const a = performance.now();"
        "for (let n = 0; n < 100; n++) { showPicture(false); player.position = n * 99; }"
        "return [t.domContentLoadedEventEnd - t.responseEnd, (performance.now() - a) / 100]"
    )
    record_property("milliseconds to the first picture, per frame", timing)
    print("ms to the first picture, per frame:", timing)


@pytest.mark.parametrize("zoom", ["isolations", "phases", "operations"])
def test_predicting_hides_the_next_step_until_it_is_guessed_or_shown(
    page: Page, busybox_image: str, zoom: str
) -> None:
    page.minidock.ok("run", "-d", "--name", "box", "--net", "none", busybox_image, "sleep", "600")
    page.show("box", hash=f"#0-{zoom}")
    browser = page.browser
    browser.press("p")
    for _ in range(6):
        browser.await_true("document.querySelectorAll('.answer').length === 3")
        before, right = (
            page.position(),
            browser.script("return document.querySelector('.question').dataset.right"),
        )
        texts = browser.script(
            "return [...document.querySelectorAll('.answer')].map(e => e.textContent)"
        )
        assert texts.count(right) == 1 and len(set(texts)) == 3
        wrong = 1 + next(n for n, text in enumerate(texts) if text != right)
        browser.click(f".question li:nth-child({wrong}) button")
        assert page.text(".question [role=status]") == "No. Try again."
        browser.click(f".question li:nth-child({1 + texts.index(right)}) button")
        assert page.text(".question [role=status]") == "Yes." and page.position() == before
        browser.press("ArrowRight")
        assert page.position() > before
        shown = page.text("#details")
        if zoom == "operations":
            assert right in shown, "what was guessed is what is shown"
    cover = browser.script("return document.querySelector('.cover').getBoundingClientRect().width")
    assert cover > 300, "what is to come is hidden in the lanes"
    browser.click(".reveal")
    browser.press("End")
    assert browser.script("return document.querySelector('.question')") is None
    browser.press("p")
    assert (
        browser.script("return getComputedStyle(document.querySelector('.cover')).display")
        == "none"
    )
