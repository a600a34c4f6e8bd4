"""The pictures of docs/look.md and README.md: scenes of the page, of one container or of two.

A scene is a position in the journal, what is clicked there, and how the page is shown. Its picture
is docs/NAME.png, 1280 by 720, with a palette of the 256 colours that it has most of.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from support.browser import Browser

SIZE = (1280, 720)
COLOURS = 256


class Scene(NamedTuple):
    """name: of the file. after: the operation after which the page is shown; "": the end.
    shows: a selector of what there is to see. clicked: a selector. keys: pressed at last.
    """

    name: str
    after: str
    shows: str
    clicked: str = ""
    zoom: str = "operations"
    lang: str = "en"
    is_dark: bool = False
    is_large: bool = False
    containers: tuple[str, ...] = ("web",)
    keys: tuple[str, ...] = ()


SCENES = (
    Scene("look", "", "[data-kind=command].lit", zoom="isolations"),
    Scene("look-start", "start", ".region.inside:not(.on)", zoom="isolations"),
    Scene("look-cgroups", "memory", "[data-tile=host_cgroup] .chip.lit"),
    Scene("look-layers", "overlay.mount_overlay", ".slab.upper[data-state=on]"),
    Scene("look-namespaces", "namespace.clone_process", "[data-tile=net] .handle[data-state=on]"),
    Scene("look-pivot_root", "mount.pivot_root", "[data-tile=pivot_root].lit"),
    Scene(
        "look-capabilities", "capability.set_capabilities", ".pip[data-state=off]",
        zoom="isolations",
    ),
    Scene("look-network", "link.add_default_route", ".link.on:last-child", zoom="phases"),
    Scene("look-selected", "", "#details .back", clicked="[data-kind=port]"),
    Scene(
        "look-class", "mount.pivot_root", "[data-tile=pivot_root].lit",
        lang="ru", is_dark=True, is_large=True,
    ),
    Scene(
        "look-beside", "", "[data-row=capabilities]", zoom="isolations",
        containers=("run", "privileged"), keys=("b",),
    ),
)  # fmt: skip

# A name of Scene.after that is not of an operation: where it is.
_PLACES = {
    "": "story.complete()",
    "start": "0",
    # The limit of -m, with either version of cgroups.
    "memory": (
        "steps.findLastIndex(step => step.changes.some(([at, state]) => state === ON && "
        "story.things[at][0] === 'limit' && "
        "/^memory.(max|limit_in_bytes)$/.test(story.things[at][1]))) + 1"
    ),
}


def show(browser: Browser, scene: Scene, file: Path) -> None:
    """Open a page at a scene, and wait until it is drawn. file: of look --export."""
    browser.resize(*SIZE)
    browser.prefer(
        prefers_color_scheme="dark" if scene.is_dark else "light", prefers_reduced_motion="reduce"
    )
    browser.open("about:blank")
    browser.open(f"file://{file}")
    if scene.is_large:
        browser.press("l")
    place = _PLACES.get(scene.after, f"steps.findLastIndex(s => s.op === '{scene.after}') + 1")
    browser.script(
        f"const story = player.story, steps = story.steps; player.setZoom('{scene.zoom}');"
        f"player.seek({place})"
    )
    if scene.clicked:
        browser.click(scene.clicked)
    browser.press(*scene.keys)
    browser.script(
        "document.activeElement.blur(); return new Promise(done => requestAnimationFrame("
        "() => requestAnimationFrame(done)))"
    )


def picture(browser: Browser) -> bytes:
    """What the browser shows, as a small PNG."""
    from PIL import Image  # not for those who only read the list

    drawn = Image.open(io.BytesIO(browser.png())).convert("RGB")
    found = sorted(drawn.getcolors(1 << 24) or [], reverse=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for _, colour in found[:COLOURS] for part in colour])
    drawn = drawn.quantize(palette=palette, dither=Image.Dither.NONE)
    out = io.BytesIO()
    drawn.save(out, "PNG", optimize=True)
    return out.getvalue()
