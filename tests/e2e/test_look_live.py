"""look, served: what the page shows is what the kernel has now; who may see it, and who may not."""

from __future__ import annotations

import http.client
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from minidock.paths import Store
from support.browser import Browser
from support.command import Minidock
from support.look_page import axe_source, violations
from support.look_server import Served
from support.patience import await_true, patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

EVIL = "<img src=x onerror=document.title='owned'>\u202egnp.exe"


@pytest.fixture
def served(store: Store, minidock: Minidock, busybox_image: str) -> Iterator[Served]:
    site = Served(store)
    yield site
    site.stop()


@pytest.fixture
def browser(tmp_path: Path, served: Served) -> Iterator[Browser]:
    """A browser with the page."""
    with Browser(tmp_path) as opened:
        opened.open(served.address)
        yield opened


def _text(browser: Browser, selector: str) -> str:
    return str(browser.script("return document.querySelector(arguments[0]).innerText", selector))


def _shows(browser: Browser, name: str) -> None:
    browser.await_true(f"document.getElementById('title').textContent.startsWith('{name}:')")
    browser.await_true("document.querySelector('#now tbody tr')")


def _cgroup(box: str, file: str) -> Path:
    """A file of a container's cgroup, in the hierarchy that has it."""
    find = subprocess.run(
        ["find", "/sys/fs/cgroup", "-path", f"*{box}/{file}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(find.stdout.split()[0])


def test_a_container_appears_as_it_is_made_and_what_is_true_now_is_the_kernels(
    store: Store, minidock: Minidock, busybox_image: str, browser: Browser
) -> None:
    assert "No container has been started yet" in _text(browser, "#said")
    box = minidock.ok("run", "-d", "--name", "web", "-m", "64m", busybox_image, "sh", "-c",
                      "httpd -h /; httpd -p 7 -h /; sleep 600; true")  # fmt: skip
    _shows(browser, "web")
    assert int(_text(browser, "#position").split("/")[0]) < 20, "it begins at the start"
    browser.await_true("document.getElementById('play').textContent != '▶'")
    browser.click("#last")
    pids = {int(pid) for pid in _cgroup(box, "cgroup.procs").read_text().split()}
    browser.await_true(f"document.querySelectorAll('#now [data-pid]').length == {len(pids)}")
    rows = browser.script(
        "return [...document.querySelectorAll('#now [data-pid]')]"
        ".map(row => [...row.cells].map(cell => cell.textContent))"
    )
    numbers = {}
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        numbers[pid] = (re.findall(r"NSpid:.*\s(\d+)\n", status)[0], Path(f"/proc/{pid}/comm"))
    assert {int(row[0]): row[1] for row in rows} == {pid: n for pid, (n, _) in numbers.items()}
    for pid, inside, name, _ in rows:
        assert name.split()[0] == numbers[int(pid)][1].read_text().strip(), (pid, inside)
    limit = browser.script(
        "return document.querySelector('[data-gauge=memory]').parentNode.dataset.limit"
    )
    assert int(limit) == 64 << 20
    browser.await_true("document.getElementById('now').innerText.includes(':7 httpd, pid')")
    init = minidock.ok("inspect", "-f", "{{.State.Pid}}", "web")
    ss = subprocess.run(["nsenter", "-t", init, "-n", "ss", "-Hltn"], capture_output=True,
                        text=True, check=True)  # fmt: skip
    ports = {line.split()[3].rpartition(":")[2] for line in ss.stdout.splitlines()}
    assert {"80", "7"} == ports == set(re.findall(r"tcp \S+:(\d+) ", _text(browser, "#now")))
    assert "All as the journal says" in _text(browser, "#now")
    assert not browser.complaints()
    asked = [address for address in browser.requests() if address.startswith("http")]
    assert asked and {urlsplit(address).hostname for address in asked} == {"127.0.0.1"}


def test_what_changed_since_its_start_is_marked(
    store: Store, minidock: Minidock, busybox_image: str, browser: Browser
) -> None:
    box = minidock.ok("run", "-d", "--privileged", "--name", "box", "--pids-limit", "50",
                      busybox_image, "sleep", "600")  # fmt: skip
    _shows(browser, "box")
    browser.await_true("document.querySelector('#now .agrees')")
    minidock.ok("exec", "box", "sh", "-c",
                "umount /dev/mqueue; mkdir '/a b'; mount -t tmpfs none '/a b';"
                "ip link add more type veth peer name veth0")  # fmt: skip
    _cgroup(box, "pids.max").write_text("70")
    browser.await_true("document.querySelectorAll('#now .differs li').length == 5")
    assert set(_text(browser, "#now .differs").splitlines()) == {
        "mount /a b: there now", "mount /dev/mqueue: gone now", "interface more: there now",
        "interface veth0: there now",
        "limit pids.max: 50 in the journal, 70 now",
    }  # fmt: skip
    badges = browser.script(
        "return Object.fromEntries([...document.querySelectorAll('#scene .badge')]"
        ".map(e => [e.closest('.tile').dataset.tile, e.textContent]).filter(([, text]) => text))"
    )
    assert badges == {"mount": "≠ 2", "net": "≠ 2", "cgroup": "≠ 1"}
    minidock.ok("exec", "box", "sh", "-c", "umount '/a b'; ip link delete more;"
                "mount -t mqueue mqueue /dev/mqueue")  # fmt: skip
    _cgroup(box, "pids.max").write_text("50")
    browser.await_true("document.querySelector('#now .agrees')")


def test_an_oom_kill_and_throttling_are_shown_as_they_happen(
    minidock: Minidock, busybox_image: str, browser: Browser
) -> None:
    minidock.ok("run", "-d", "--name", "box", "-m", "32m", "--cpus", "0.1", busybox_image, "sh",
                "-c", "while :; do tail /dev/zero; done")  # fmt: skip
    _shows(browser, "box")
    browser.await_true(
        "/OOM kills: [1-9]/.test(document.querySelector('#now .alarm')?.textContent)"
    )
    browser.await_true(
        "/throttled: [1-9]/.test(document.querySelector('#now .alarm')?.textContent)"
    )


def test_a_story_grows_and_a_removed_container_is_said_to_be_removed(
    minidock: Minidock, busybox_image: str, browser: Browser, served: Served
) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    _shows(browser, "box")
    before = int(_text(browser, "#position").split("/")[1])
    browser.click("#last")
    minidock.ok("stop", "-t", "0", "box")
    browser.await_true(f"document.getElementById('scrub').max > {before}")
    browser.await_true("document.querySelector('#now h2').textContent == 'Now: exited'")
    minidock.ok("run", "-d", "--name", "two", busybox_image, "sleep", "600")
    _shows(browser, "two")
    assert browser.script("return document.getElementById('container').length") == 2
    minidock.ok("rm", "-f", "two")
    browser.await_true("document.getElementById('said').textContent.includes('two: sleep')")
    assert served.end() == 130
    browser.await_true("document.getElementById('said').textContent.startsWith('No connection')")


def test_what_containers_are_called_draws_nothing_and_runs_nothing(
    minidock: Minidock, busybox_image: str, browser: Browser
) -> None:
    minidock.ok("run", "-d", "--name", "box", "--privileged", busybox_image, "sh", "-c",
                'mkdir "/$1"; mount -t tmpfs none "/$1"; cd "/$1"; chmod +x .;'
                "printf '#!/bin/sh\nsleep 600; true' > '<b>'; chmod +x '<b>'; './<b>'; true",
                "sh", EVIL)  # fmt: skip
    _shows(browser, "box")
    browser.await_true("document.querySelector('#now .differs')")
    shown = _text(browser, "#now")
    assert "<b>" in shown and "onerror=document.title='owned'>\ufffdgnp.exe" in shown
    assert browser.script("return document.querySelectorAll('#now img, #now b').length") == 0
    assert browser.script("return document.title") == "minidock"
    assert not browser.complaints()


def test_only_the_browser_with_the_token_is_admitted_and_once(
    served: Served, minidock: Minidock, busybox_image: str
) -> None:
    box = minidock.ok("run", "-d", busybox_image, "sleep", "600")
    first, (home, cookie) = served.address, served.admitted()
    assert re.fullmatch(r"/[\w-]{20,}/", home), "no other server of this host gets the cookie"
    assert {"HttpOnly", "SameSite=Lax", f"Path={home}"} == set(cookie.split("; ")[1:])
    assert served.ask(first[first.index("/?") :])[0] == 403, "it was used"
    assert served.ask("/?token=")[0] == served.ask("/?token=%ff%00%c3%a9")[0] == 403
    cookie = cookie.partition(";")[0]
    asked = ("", "events", f"story?container={box}", f"now?container={box}", "layers", "path", "x")
    paths = ("/", "/events", *(home + name for name in asked))
    for path in paths:
        for wrong in ({}, {"Cookie": cookie + "x"}, {"Cookie": cookie.partition("=")[0] + "="}):
            assert served.ask(path, **wrong)[0] == 403, (path, wrong)
        for headers in ({"Host": "evil.example"}, {"Host": f"evil.example:{served.port}"}):
            assert served.ask(path, Cookie=cookie, **headers)[0] == 421, path
        assert served.ask(path, Cookie=cookie, Origin="http://evil.example")[0] == 403
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
            assert served.ask(path, method, Cookie=cookie)[0] == 405
    for path in ("/", "/events", f"/story?container={box}", home[:-1], f"{home}/", f"{home}../"):
        assert served.ask(path, Cookie=cookie)[0] == 404, path
    await_true(lambda: _listed(served, home, cookie) == [box], "it is listed")
    assert served.ask(f"{home}story?container={box}", Cookie=cookie)[0] == 200
    for unknown in ("", "..", box[:12], "../../etc/passwd", "x" * 9000):
        assert served.ask(f"{home}now?container={unknown}", Cookie=cookie)[0] == 404
    again = served.next_address()
    assert again.startswith(f"http://127.0.0.1:{served.port}/?token=") and again != first
    assert served.ask(again[again.index("/?") :])[0] == 303, "another browser"


def test_no_other_page_may_frame_or_read_it_and_it_may_load_nothing(served: Served) -> None:
    home, cookie = served.admitted()
    status, page, headers = served.ask(home, Cookie=cookie.partition(";")[0])
    assert status == 200 and headers["Content-Security-Policy"] == "frame-ancestors 'none'"
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', page)[0].split("; ")
    assert policy[0] == "default-src 'none'" and policy[-1] == "connect-src 'self'"
    assert not [each for each in policy if "unsafe" in each or "http" in each]
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"


def test_it_listens_on_loopback_alone_and_its_token_is_in_no_arguments(served: Served) -> None:
    ss = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    mine = [line.split()[3] for line in ss.splitlines() if f"pid={served.process.pid}," in line]
    assert mine == [f"127.0.0.1:{served.port}"]
    token = served.address.partition("token=")[2]
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert token not in process.read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended


def test_chosen_containers_only_and_in_russian(
    store: Store, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        minidock.ok("run", "-d", "--name", name, busybox_image, "sleep", "600")
    site = Served(store, "--lang", "ru", "one")
    try:
        with Browser(tmp_path) as browser:
            browser.open(site.address)
            _shows(browser, "one")
            assert browser.script("return document.getElementById('choice').hidden") is True
            browser.await_true("document.querySelector('#now .agrees')")
            text = _text(browser, "#now")
            assert "Всё так, как в журнале" in text
            words = set(re.findall(r"[A-Za-z/]{3,}", text))
            assert words <= {"running", "sleep", "KiB", "MiB"}, words
    finally:
        site.end()


def test_refusals(minidock: Minidock, served: Served, busybox_image: str) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    for words, said in (
        (("--port", str(served.port)), f"--port {served.port}: Address already in use"),
        (("--port", "99999"), "--port"),
        (("--port", "-1"), "--port"),
        (("--port", "80x"), "--port"),
        (("--port", "8000", "--text", "box"), "--port excludes --text"),
        (("--port", "8000", "--export", "f", "box"), "--port excludes --export"),
        (("--exec", "last", "box"), "--exec requires --text or --export FILE"),
        (("--unfold", "net", "box"), "--unfold requires --text"),
        (("nosuch",), "No such container: nosuch"),
    ):
        answer = minidock("look", *words)
        assert answer.code in (1, 125) and said in answer.stderr, str(answer)


def test_the_story_of_the_page_is_that_of_an_exported_one(
    minidock: Minidock, served: Served, busybox_image: str, tmp_path: Path
) -> None:
    box = minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "600")
    home, cookie = served.admitted()
    cookie = cookie.partition(";")[0]
    await_true(lambda: _listed(served, home, cookie) == [box], "it is listed")
    status, body, _ = served.ask(f"{home}story?container={box}", Cookie=cookie)
    served_story = json.loads(body)["story"]
    minidock.ok("look", "--export", str(tmp_path / "box.html"), "box")
    page = (tmp_path / "box.html").read_text()
    data = json.loads(page.partition('id="data">')[2].partition("</script>")[0])
    assert status == 200 and {**data["stories"][0], "id": box} == served_story
    assert os.path.exists(f"/proc/{served.process.pid}")


def _listed(served: Served, home: str, cookie: str) -> list[str]:
    """The ids of the first event."""
    client = http.client.HTTPConnection("127.0.0.1", served.port, timeout=patience(20))
    client.request("GET", f"{home}events", headers={"Cookie": cookie})
    answer = client.getresponse()
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.readline() == b"event: containers\n"
    listing = json.loads(answer.readline().partition(b": ")[2])
    client.close()
    return [each["id"] for each in listing]


ROLES = "[...document.querySelectorAll('[data-tile=layers] .slab')].map(e => e.dataset.role)"


def test_the_layers_are_what_built_them_and_an_x_ray_says_which_answers(
    store: Store, minidock: Minidock, busybox_image: str, browser: Browser, tmp_path: Path
) -> None:
    steps = "RUN echo one > /etc/motd; echo x > /gone", "RUN echo two > /etc/motd; mkdir /d"
    (tmp_path / "Dockerfile").write_text("\n".join([f"FROM {busybox_image}", *steps]))
    minidock.ok("build", "-q", "-t", "three", str(tmp_path))
    box = minidock.ok("run", "-d", "--name", "box", "three", "sh", "-c",
                      "rm /gone; echo me >> /etc/passwd; touch '/new <b>'; sleep 600")  # fmt: skip
    _shows(browser, "box")
    browser.click("#last")
    browser.click("[data-tile=layers] .tile-title")
    rows = "[...document.querySelectorAll('.layers-now tbody tr')]"
    browser.await_true(f"{rows}.length == 4")
    made_by = browser.script(f"return {rows}.map(row => row.cells[1].textContent)")
    assert steps[1][4:] in made_by[1] and steps[0][4:] in made_by[2], made_by
    told = dict(
        line.split(": ", 1)[::-1] for line in _text(browser, ".layers-now .changes").splitlines()
    )
    upper = Path(store.container(box).upper)
    on_disk = {f"/{each.relative_to(upper)}" for each in upper.rglob("*")}
    assert set(told) == on_disk - {"/etc"}, "each file in it, but not a directory that is the same"
    assert (told["/gone"], told["/etc/passwd"], told["/new <b>"]) == ("deleted", "changed", "added")
    assert os.stat(upper / "gone").st_rdev == 0, "a whiteout"
    minidock.ok("exec", "box", "sh", "-c", "rm /bin/vi; echo 1 > /later")
    fresh = "[...document.querySelectorAll('.changes .fresh')].map(e => e.innerText).sort().join()"
    browser.await_true(f"{fresh} == 'new added: /later,new deleted: /bin/vi'")
    for path, roles in (
        ("/etc/motd", ["", "seen", "hidden"]), ("/etc/passwd", ["seen", "", "", "hidden"]),
        ("/d", ["", "seen"]), ("/nosuch", []),
    ):  # fmt: skip
        browser.script("document.querySelector('.xray input').value = arguments[0]", path)
        browser.click(".xray button")
        expected = json.dumps(roles + [""] * (4 - len(roles)), separators=(",", ":"))
        browser.await_true(f"JSON.stringify({ROLES}) == '{expected}'")
    browser.await_true(
        "document.querySelector('.layers-now [role=status]').innerText.includes('no layer of box')"
    )
    assert browser.script("return document.querySelectorAll('.layers-now b').length") == 0
    axe = axe_source()
    assert axe is None or violations(browser, axe) == [], "the layers, and what is true now"
    refused = [each for each in browser.complaints() if "/path?" not in each]
    assert not [each for each in refused if "/story?" not in each], "a journal that has just begun"
