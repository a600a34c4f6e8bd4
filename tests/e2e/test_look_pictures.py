"""The pictures of the docs are scenes of the page, each of which can be reached.

With MINIDOCK_WRITE_DOCS=1 (`make screenshots`) they are made anew.
"""

from __future__ import annotations

import os

import pytest

from support.command import REPOSITORY
from support.look_page import Page
from support.look_scenes import SCENES, SIZE, picture, show

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]


def test_each_scene_can_be_reached_and_drawn(page: Page) -> None:
    is_written = bool(os.environ.get("MINIDOCK_WRITE_DOCS"))
    port = "8090:80" if is_written else "127.0.0.1:0:80"
    flags = ("--name", "web", "-p", port, "-v", "data:/data", "-m", "64m")
    page.minidock.ok("run", "-d", *flags, "busybox", "sleep", "10000")
    page.minidock.ok("run", "-d", "--name", "run", "busybox", "sleep", "10000")
    page.minidock.ok(
        "run", "-d", "--name", "privileged", "--privileged", "busybox", "sleep", "10000"
    )
    made = {}
    for scene in SCENES:
        page.minidock.ok(
            "look", "--export", str(page.file), "--lang", scene.lang, *scene.containers
        )
        show(page.browser, scene, page.file)
        seen = page.browser.script(
            "return [...document.querySelectorAll(arguments[0])].some("
            "e => e.checkVisibility({visibilityProperty: true}) || e.dataset.state === 'off')",
            scene.shows,
        )
        assert seen, f"{scene.name}: nothing is {scene.shows}"
        made[scene.name] = picture(page.browser)
    page.browser.prefer()
    page.browser.resize()
    assert len(set(made.values())) == len(SCENES)
    if is_written:
        for name, png in made.items():
            (REPOSITORY / f"docs/{name}.png").write_bytes(png)
    assert SIZE <= (1600, 900) and max(map(len, made.values())) < 150_000
