"""look --lecture: the steps of a Markdown file drive the picture, served and as a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support.browser import Browser
from support.command import Minidock
from support.look_page import Page, axe_source, violations
from support.look_server import Served

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

TALK = """# Talk
Welcome <img src=x onerror=document.title='owned'>
## A process
<!-- look: box -->
It begins.

```console
$ minidock run -d --name box busybox sleep 1000
0123456789ab
```
## The other root
<!-- look: box before pivot_root operations predict -->
What comes now?
## It is there
<!-- look: box at mount.pivot_root isolations -->
A list:

- of `one`
## The end
"""


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    file = tmp_path / "talk.md"
    file.write_text(TALK)
    return file


@pytest.fixture
def serve(store: Store) -> Iterator[Callable[..., Served]]:
    running = []

    def begin(*words: str) -> Served:
        running.append(Served(store, *words))
        return running[-1]

    yield begin
    for site in running:
        site.stop()


def _text(browser: Browser, selector: str) -> str:
    return str(browser.script("return document.querySelector(arguments[0]).innerText", selector))


def _position(browser: Browser) -> int:
    return int(_text(browser, "#position").split("/")[0])


def _ops(minidock: Minidock, name: str) -> list[str]:
    """The operations of a container's run in order, as `explain --all` lists them."""
    lines = minidock.ok("explain", "--all", name).splitlines()
    words = [line.split() for line in lines if line[:6].strip().isdecimal()]
    return [each[1].partition("(")[0] for each in words if len(each) > 1 and "." in each[1]]


def test_the_lecture_waits_for_a_container_and_shows_what_each_step_names(
    minidock: Minidock, busybox_image: str, talk: Path, tmp_path: Path,
    serve: Callable[..., Served],
) -> None:  # fmt: skip
    served = serve("--lecture", str(talk))
    with Browser(tmp_path) as browser:
        browser.open(served.address)
        assert _text(browser, "#lecture h2") == "Talk"
        assert "<img src=x" in _text(browser, "#lecture"), "HTML is text"
        browser.press("PageDown")
        assert "box does not run yet" in _text(browser, "#lecture .due")
        assert _text(browser, "#lecture code") == "minidock run -d --name box busybox sleep 1000"
        minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "1000")
        browser.await_true("document.getElementById('title').textContent.startsWith('box:')")
        browser.await_true("document.querySelector('#lecture .due').innerText == ''")
        ops = _ops(minidock, "box")
        root = ops.index("mount.pivot_root")
        browser.press("PageDown")
        browser.await_true(f"document.getElementById('position').textContent.startsWith('{root} ')")
        assert browser.script("return document.querySelector('.question') !== null")
        browser.press("PageDown")
        assert _position(browser) == root + 1
        assert not browser.script("return document.querySelector('.question')")
        assert browser.script("return document.querySelector('[data-zoom=isolations]').ariaChecked")
        browser.press("PageDown", "PageDown")
        assert _text(browser, "#lecture h2") == "The end" and _position(browser) == root + 1
        browser.press("PageUp", "PageUp")
        assert _position(browser) == root
        assert browser.complaints() == [] and browser.script("return document.title") != "owned"
        axe = axe_source()
        assert axe is None or violations(browser, axe) == []


def test_a_file_has_the_lecture_too(page: Page, talk: Path) -> None:
    for name in ("other", "box"):
        page.minidock.ok("run", "-d", "--name", name, "busybox", "sleep", "1000")
    page.show("other", "box", flags=("--lecture", str(talk)))
    browser = page.browser
    browser.click("#lecture [data-by='1']")
    assert page.text("#title").startswith("box:"), "the step's container, not the first one"
    browser.press("PageDown")
    assert browser.script("return document.querySelector('.question') !== null")
    browser.press("l")
    axe = axe_source()
    assert axe is None or violations(browser, axe) == []
    assert browser.requests() == [f"file://{page.file}"]


def test_what_cannot_be_shown_is_refused(
    minidock: Minidock, busybox_image: str, talk: Path, tmp_path: Path
) -> None:
    minidock.ok("run", "-d", "--name", "other", busybox_image, "sleep", "1000")
    for words, says in [
        (("--lecture", str(talk), "other"), f"--lecture {talk} shows box"),
        (("--lecture", str(talk), "--export", str(tmp_path / "f"), "other"), "shows box"),
        (("--lecture", str(talk), "--text", "other"), "--lecture excludes --text"),
        (("--lecture", str(tmp_path / "none")), "No such file"),
    ]:
        refused = minidock("look", *words)
        assert refused.code in (1, 125) and says in refused.stderr, str(refused)
    assert not (tmp_path / "f").exists()
