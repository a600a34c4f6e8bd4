"""look drives `run --step`: one click is one operation, for the page that is ours and no other."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pexpect
import pytest

from minidock.paths import Store
from support import half_made, stores
from support.browser import Browser
from support.command import Minidock, command_line, environment
from support.look_page import axe_source, violations
from support.look_server import Served
from support.patience import await_true
from support.stepped_run import PROMPT, begin_stepped_run

if TYPE_CHECKING:
    from support.stepped_run import Child

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

RUNS = "created: the command runs"
FROM_PAGE = "from the page"
LIMIT = 64 << 20


class Run:
    """A `run --step` on a terminal, at its first pause, and what its journal says of it."""

    def __init__(self, store: Store, child: Child) -> None:
        self.child = child
        self.child.expect_exact(PROMPT)
        self.home = Path(store.containers, os.readlink(f"{store.names}/half"))
        self.place = half_made.Place(self.home, store.bridge)

    @property
    def acts(self) -> list[half_made.Act]:
        """What is done."""
        return half_made.done(self.home / "journal.jsonl")[0]

    @property
    def standing(self) -> half_made.Act:
        """What is about to be done."""
        return half_made.done(self.home / "journal.jsonl")[1]

    @property
    def before(self) -> str:
        """The id of what is about to be done."""
        lines = (self.home / "journal.jsonl").read_text().splitlines()
        return str(json.loads(lines[-1])["id"])

    def type(self, command: str) -> None:
        """Type a command, up to the next prompt."""
        self.child.sendline(command)
        self.child.expect_exact(PROMPT)

    def heard(self, ending: str = PROMPT) -> None:
        """The terminal says that a command came from the page, and then this."""
        self.child.expect_exact(FROM_PAGE)
        self.child.expect_exact(ending)

    def is_as_far_as_the_kernel(self) -> bool:
        acts, standing = self.acts, self.standing
        by_program = half_made.needs_programs(acts, standing)
        promise = half_made.expected(acts, self.place, with_programs=by_program)
        return promise == half_made.seen(
            promise, acts, standing, self.place, with_programs=by_program
        )

    def exit_code(self) -> int | None:
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.child.exitstatus


@pytest.fixture
def run(store: Store, minidock: Minidock, busybox_image: str) -> Iterator[Callable[..., Run]]:
    """Begins a `run --step` of a container named "half"."""
    children: list[Child] = []

    def begin(*flags: str) -> Run:
        words = ("--name", "half", *flags, busybox_image, "echo", "hello")
        children.append(begin_stepped_run(store.root, *words))
        return Run(store, children[-1])

    yield begin
    for child in children:
        child.close(force=True)


@pytest.fixture
def served(store: Store, busybox_image: str) -> Iterator[Served]:
    site = Served(store)
    yield site
    site.stop()


@pytest.fixture
def browser(tmp_path: Path, served: Served) -> Iterator[Browser]:
    with Browser(tmp_path) as opened:
        opened.open(served.address)
        yield opened


def await_pause(browser: Browser, run: Run) -> None:
    """Wait until the page shows the pause, and takes a command for it."""
    n = len(run.acts) + 1
    name = run.standing.op.rpartition(".")[2]
    browser.await_true(
        f"document.querySelector('#step h2')?.textContent == 'Waits before operation {n}: {name}'"
        " && document.querySelector('[data-order=step]').ariaDisabled == 'false'"
        " && !document.getElementById('step').hidden"
    )


def order(browser: Browser, run: Run, command: str, ending: str = PROMPT) -> None:
    await_pause(browser, run)
    browser.click(f"[data-order={command}]")
    run.heard(ending)


def namespaces(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("pid", "net", "mnt", "uts")}


def children_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def nothing_is_left(minidock: Minidock, store: Store) -> None:
    """Beside the server and the browser, which have the store in their environment."""

    def left() -> list[str]:
        found = stores.processes(store)
        others = [each for each in found if not re.search("minidock look|chromedriver", each)]
        files = set(os.listdir(store.run)) - {os.path.basename(store.sealed)}
        return [*stores.held(store), *others, *sorted(files)]

    await_true(lambda: left() == [], "something is left")
    assert minidock.ok("ps", "-aq") == ""


def test_a_click_is_one_operation_and_the_picture_grows_with_it(
    browser: Browser, run: Callable[..., Run], minidock: Minidock, store: Store
) -> None:
    made = run("--rm", "-m", str(LIMIT), "--hostname", "inside")
    file = os.stat(made.home / "step.sock")
    assert stat.S_ISSOCK(file.st_mode) and (file.st_mode & 0o777, file.st_uid) == (0o600, 0)
    done = len(made.acts)
    for more in (1, 2):
        order(browser, made, "step")
        assert len(made.acts) == done + more and made.is_as_far_as_the_kernel()

    made.type("break write_file")
    while made.standing.args.get("value") != str(LIMIT):
        made.type("continue")
    limit = Path(made.standing.args["path"])
    assert limit.name in ("memory.max", "memory.limit_in_bytes")
    assert limit.read_text().strip() not in ("", str(LIMIT))
    order(browser, made, "step")
    assert limit.read_text().strip() == str(LIMIT)
    made.type("delete write_file")

    made.type("break clone_process")
    made.type("continue")
    monitor = made.standing.pid
    assert children_of(monitor) == [] and made.is_as_far_as_the_kernel()
    await_pause(browser, made)
    assert "unshare" in _told(browser) and "clone3(2)" in _told(browser)
    assert _kinds_there(browser) & {"PID namespace", "UTS namespace"} == set()
    order(browser, made, "step")
    (init,) = children_of(monitor)
    ours, its = namespaces("self"), namespaces(init)
    assert all(ours[name] != its[name] for name in ours)
    await_pause(browser, made)
    assert _kinds_there(browser) >= {"PID namespace", "UTS namespace", "network namespace"}
    assert _text(browser, "#details .op").startswith("clone_process"), "what was just done"

    phase = _phase(browser)
    order(browser, made, "next")
    await_pause(browser, made)
    assert _phase(browser) != phase and made.is_as_far_as_the_kernel()
    module = _phase(browser).rpartition(".")[0]
    order(browser, made, "chapter")
    await_pause(browser, made)
    assert not _phase(browser).startswith(f"{module}.")
    made.type("break execute")
    order(browser, made, "continue")
    assert made.standing.op == "process.execute"
    order(browser, made, "continue", RUNS)
    made.child.expect_exact("hello")
    assert made.exit_code() == 0
    assert not os.path.exists(made.home / "step.sock")
    browser.await_true("document.getElementById('step').hidden")
    complaints = [each for each in browser.complaints() if "404" not in each]  # it was removed
    assert complaints == []


def _told(browser: Browser) -> str:
    return str(browser.script("return document.querySelector('#step .about').textContent"))


def _phase(browser: Browser) -> str:
    return _told(browser).split(" · ")[1]


def _kinds_there(browser: Browser) -> set[str]:
    """The kinds of the things that the table has as being there."""
    browser.script("if (document.getElementById('table').hidden) toggleTable()")
    rows = browser.script(
        "return [...document.querySelectorAll('#table table')[1].tBodies[0].rows]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    kinds = ("PID namespace", "UTS namespace", "network namespace", "mount namespace")
    return {kind for kind in kinds for row in rows if row[0].startswith(kind) and "there" in row}


def test_an_abort_and_a_killed_run_leave_nothing(
    browser: Browser, run: Callable[..., Run], minidock: Minidock, store: Store, served: Served
) -> None:
    made = run("-m", "64m")
    made.type("break clone_process")
    order(browser, made, "continue")
    assert made.standing.op == "namespace.clone_process"
    await_pause(browser, made)
    browser.click("[data-order=abort]")  # asks once more
    assert "Press again" in _text(browser, "[data-order=abort]") and len(children(made)) == 1
    browser.click("[data-order=abort]")
    made.heard("undoing what was done:")
    assert made.exit_code() == 125
    nothing_is_left(minidock, store)
    browser.await_true("document.getElementById('step').hidden")

    made = run()
    made.type("break make_directory")
    await_pause(browser, made)
    os.kill(made.child.pid, signal.SIGKILL)
    browser.await_true("document.getElementById('step').hidden")
    nothing_is_left(minidock, store)

    made = run("--rm")
    order(browser, made, "step")
    served.process.kill()
    browser.await_true("document.getElementById('said').textContent.startsWith('No connection')")
    assert browser.script("return document.getElementById('step').hidden")
    made.type("step 2")
    made.child.sendline("continue")
    made.child.expect_exact("hello")
    assert made.exit_code() == 0


def children(run: Run) -> list[str]:
    return children_of(run.child.pid)


def _text(browser: Browser, selector: str) -> str:
    return str(browser.script("return document.querySelector(arguments[0]).innerText", selector))


def test_keys_are_enough_and_axe_finds_nothing(
    browser: Browser, run: Callable[..., Run], minidock: Minidock, store: Store
) -> None:
    axe = axe_source()
    if axe is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    made = run("--rm")
    for key in ("s", "s", "n"):
        await_pause(browser, made)
        done = len(made.acts)
        browser.press(key)
        made.heard()
        assert len(made.acts) == done + 1 if key == "s" else len(made.acts) > done
    await_pause(browser, made)
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        assert violations(browser, axe) == []
    browser.press("l")
    assert violations(browser, axe) == []
    browser.press("l", "?")
    assert "run --step" in _text(browser, "#keys")
    browser.press("Escape")
    browser.press("3", "p")  # predict first: what waits is hidden, and asked for
    shown = "return document.querySelector('#side').innerText"
    answers = browser.script(
        "return [...document.querySelectorAll('.answer')].map(e => e.innerText)"
    )
    assert "Waits before" not in browser.script(shown) and len(answers) > 1
    place = browser.script("return document.getElementById('position').textContent")
    assert place == f"{len(made.acts)} / {len(made.acts)}", "it stays at the end"
    done = len(made.acts)
    assert browser.script("return data.ops[player.story.next.op].why") in answers
    browser.click("#details .reveal")
    made.heard()
    assert len(made.acts) == done + 1
    browser.press("p")
    await_pause(browser, made)
    made.child.send("abor")  # half a line at the terminal
    focused = "return document.activeElement.dataset.order"
    while browser.script(focused) != "step":
        browser.press("Tab")
    done = len(made.acts)
    browser.press("Enter")
    made.heard()
    assert len(made.acts) == done + 1
    await_pause(browser, made)
    assert browser.script(focused) == "step", "the focus stays"
    made.type("step")
    while browser.script(focused) != "abort":
        browser.press("Tab")
    await_pause(browser, made)
    browser.press("Enter", "Enter")
    made.heard("undoing what was done:")
    assert made.exit_code() == 125
    nothing_is_left(minidock, store)
    complaints = [each for each in browser.complaints() if "404" not in each]  # it was removed
    assert complaints == []


def test_only_our_page_may_send_a_command_and_two_pages_do_it_once(
    run: Callable[..., Run], served: Served, minidock: Minidock, store: Store
) -> None:
    made = run("--rm")
    home, cookie = served.admitted()
    cookie = cookie.partition(";")[0]
    ours = {"Cookie": cookie, "Origin": f"http://127.0.0.1:{served.port}"}
    fields = {"container": made.home.name, "before": made.before, "command": "step"}
    done = len(made.acts)

    def answer(method: str = "POST", path: str = "step", **headers: str) -> int:
        body = urlencode(fields) if method == "POST" else None
        return served.ask(f"{home}{path}", method, body, **headers)[0]

    for lacking in ("Cookie", "Origin"):
        assert answer(**{name: ours[name] for name in ours if name != lacking}) == 403, lacking
    for wrong in (
        {"Origin": "null"}, {"Origin": "http://evil.example"}, {"Cookie": f"{cookie}x"},
        {"Origin": f"https://127.0.0.1:{served.port}"}, {"Origin": "http://127.0.0.1:1"},
    ):  # fmt: skip
        assert answer(**{**ours, **wrong}) == 403, wrong
    assert answer(**ours, Host=f"evil.example:{served.port}") == 421
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert answer(method, f"step?{urlencode(fields)}", **ours) == 405, method
    for path in ("", "story", "now", "../step"):
        assert answer("POST", path, **ours) in (404, 405), path
    before = fields["before"]
    for changed, status in (
        ({"command": "sh"}, 409), ({"command": ""}, 409), ({"before": ""}, 409),
        ({"before": f"{before}0"}, 409), ({"before": "x" * 400}, 409), ({"more": "x" * 600}, 413),
        ({"container": "../../etc"}, 404), ({"container": "0" * 64}, 404),
    ):  # fmt: skip
        kept = dict(fields)
        fields.update(changed)
        assert answer(**ours) == status, changed
        fields = kept
    assert len(made.acts) == done, "all that was refused did nothing"

    assert answer(**ours) == 202
    made.heard()
    assert len(made.acts) == done + 1
    assert answer(**ours) == 409, "the other page is too late"
    fields["before"] = made.before
    made.type("step")
    assert answer(**ours) == 409, "and so is a page when the terminal was first"
    assert len(made.acts) == done + 2
    fields.update(before=made.before, command="abort")
    os.kill(made.child.pid, signal.SIGSTOP)
    await_true(lambda: "State:\tT" in Path(f"/proc/{made.child.pid}/status").read_text(), "stopped")
    assert answer(**ours) == 409, "a stopped run does not answer"
    os.kill(made.child.pid, signal.SIGCONT)
    made.type("list")
    assert len(made.acts) == done + 2, "and does nothing late"


def test_what_no_client_of_ours_sends_does_nothing_and_a_script_may_be_driven_too(
    served: Served, store: Store, minidock: Minidock
) -> None:
    """Its stdin is a pipe, whose rest is the command's."""
    words = ["run", "--step", "--rm", "-i", "--name", "half", "--net", "none", "busybox", "cat"]
    with subprocess.Popen(
        [*command_line(), *words], env=environment(store.root), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        await_true(lambda: os.path.islink(f"{store.names}/half"), "it is created")
        home = Path(store.containers, os.readlink(f"{store.names}/half"))
        await_true(lambda: (home / "journal.jsonl").exists() and _pause(home), "it waits")
        before = _pause(home)
        directory = os.open(home, os.O_PATH)
        path = f"/proc/self/fd/{directory}/step.sock"  # the whole one is too long for sun_path
        await_true(lambda: json.loads(_answer(path, b""))["open"], "it prompts")
        untouched = {"before": before, "open": True, "taken": False}
        for packet in (b"", b"\0" * 9, b"\xff" * 4096, b" step", f"{before} sh".encode(),
                       f"{before}  step".encode(), f"{before} step\n".encode()):  # fmt: skip
            assert json.loads(_answer(path, packet)) == untouched, packet
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(2)]
        for client in silent:
            client.connect(path)
        assert _pause(home) == before
        page, cookie = served.admitted()
        headers = {"Cookie": cookie.partition(";")[0], "Origin": f"http://127.0.0.1:{served.port}"}
        fields = urlencode({"container": home.name, "before": before, "command": "continue"})
        await_true(lambda: served.ask(f"{page}step", "POST", fields, **headers)[0] == 202)
        out, said = process.communicate("hello\n")
        assert (process.returncode, out) == (0, "hello\n") and RUNS in said
        for client in silent:
            client.close()
        os.close(directory)


def _answer(path: str, packet: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(path)
        client.send(packet)
        return client.recv(1024)


def _pause(home: Path) -> str:
    """The id of what the journal announces, if the socket is there to answer for it."""
    lines = (home / "journal.jsonl").read_text().splitlines()
    record = json.loads(lines[-1]) if lines else {}
    return str(record["id"]) if "begin" in record and (home / "step.sock").exists() else ""
