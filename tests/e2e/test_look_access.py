"""The page of look --export for everybody: axe-core finds nothing, and a keyboard is enough."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator

import pytest
from PIL import Image, ImageChops

from support.browser import Browser
from support.command import Minidock
from support.look_page import Page, axe_source, violations

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

# What Tab reaches: of a group of radio buttons the chosen one.
STOPS = (
    "return [...document.querySelectorAll('button, select, input, summary, [tabindex]')].filter("
    "e => e.tabIndex >= 0 && e.checkVisibility() && !e.closest('[hidden]')).length"
)
# The element with the focus, as a number that stays the same.
FOCUSED = (
    "const all = window.all ??= []; const e = document.activeElement;"
    "if (e === document.body) return -1;"
    "if (!all.includes(e)) all.push(e); return all.indexOf(e)"
)


@pytest.fixture
def axe() -> str:
    source = axe_source()
    if source is None:
        pytest.skip("axe-playwright-python, which brings axe-core, is not installed")
    return source


def run(minidock: Minidock, name: str, *flags: str) -> None:
    minidock.ok("run", "-d", "--name", name, *flags, "busybox", "sleep", "1000")


def views(page: Page) -> Iterator[str]:
    """The page in each of its views, one after the other; their names."""
    browser = page.browser
    yield "opened"
    browser.press("t")
    yield "with the table"
    browser.press("t")
    browser.click("[data-tile=mount] .tile-title")
    yield "with a tile selected"
    browser.click("[data-tile=pid] .chip")
    yield "with a thing selected"
    browser.press("3", "Home")
    yield "at the start"
    for _ in range(3):
        browser.press("ArrowRight")
    yield "at an operation"
    browser.press("p")
    yield "predicting"
    browser.press("p")
    browser.press("End", "l")
    yield "with large type"
    browser.press("1", "ArrowLeft")
    yield "with large type, at an isolation"
    browser.click("[data-tile=mount] .tile-title")
    yield "with large type and a tile selected"
    browser.press("l", "?")
    yield "with the keys"
    browser.press("Escape")


def found_in(
    page: Page, axe: str, schemes: tuple[str, ...] = ("light", "dark")
) -> dict[str, list[str]]:
    """View by view: what axe-core finds."""
    found = {}
    for scheme in schemes:
        page.browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        page.reopen()
        for view in views(page):
            found[f"{scheme}, {view}"] = violations(page.browser, axe)
    page.browser.prefer()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("lang", "schemes"), [("en", ("light", "dark")), ("ru", ("light",))])
def test_axe_finds_nothing(page: Page, axe: str, lang: str, schemes: tuple[str, ...]) -> None:
    """Colours do not depend on the language, and lengths of texts not on the colours."""
    run(page.minidock, "box", "-p", "127.0.0.1:0:80", "-m", "64m")
    page.show("box", flags=("--lang", lang))
    assert {view: found for view, found in found_in(page, axe, schemes).items() if found} == {}


@pytest.mark.slow
def test_axe_finds_nothing_with_several_containers_and_one_that_has_ended(
    page: Page, axe: str
) -> None:
    run(page.minidock, "ended")
    run(page.minidock, "other", "--net", "none")
    page.minidock.ok("stop", "-t", "0", "ended")
    page.show("ended", "other")
    assert {view: found for view, found in found_in(page, axe, ("light",)).items() if found} == {}


def test_what_axe_looks_for_is_found(page: Page, axe: str) -> None:
    """The page with three defects: a button without a name, faint text, a part without a name."""
    run(page.minidock, "box", "--net", "none")
    page.show("box")
    page.browser.script(
        "document.querySelector('#play').removeAttribute('aria-label');"
        "document.querySelector('#play').textContent = '';"
        "document.querySelector('#play').removeAttribute('title');"
        "document.querySelector('#details').style.color = '#ccc';"
        "document.querySelector('#scrub').parentNode.parentNode.removeAttribute('aria-label')"
    )
    names = {found.partition(":")[0] for found in violations(page.browser, axe)}
    assert {"button-name", "color-contrast", "region"} <= names


def picture(browser: Browser) -> Image.Image:
    return Image.open(io.BytesIO(browser.png())).convert("RGB")


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    every = image.tobytes()
    return list(zip(every[0::3], every[1::3], every[2::3], strict=True))


def luminance(colour: tuple[float, ...]) -> float:
    """Source: WCAG 2.2, "relative luminance"."""
    parts = [part / 255 for part in colour]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def faint_texts(browser: Browser) -> dict[str, float]:
    """Texts of the picture and the lanes with a contrast below 4.5; axe-core leaves out SVG.

    The background is what the browser draws without the texts.
    """
    browser.await_true("!document.querySelector('.entering')")  # chips begin transparent
    texts = browser.script(
        "return [...document.querySelectorAll('#scene text, #lanes text')].filter(e => "
        "e.textContent && e.checkVisibility({visibilityProperty: true})).map(e => {"
        "const box = e.getBoundingClientRect(); let opacity = 1;"
        "for (let up = e; up; up = up.parentElement) opacity *= getComputedStyle(up).opacity;"
        "const {fill} = getComputedStyle(e), unit = fill.startsWith('color(') ? 255 : 1;"
        "return [e.textContent, fill.match(/[\\d.]+/g).map(part => part * unit), opacity,"
        "[box.left, box.top, box.right, box.bottom].map(Math.round)]})"
    )
    assert len(texts) > 40
    browser.script(
        "for (const e of document.querySelectorAll('svg text')) e.style.visibility = 'hidden'"
    )
    drawn = picture(browser)
    browser.script("for (const e of document.querySelectorAll('svg text')) e.style.visibility = ''")
    faint = {}
    for text, fill, opacity, box in texts:
        behind = Counter(pixels(drawn.crop(box))).most_common(1)[0][0]
        seen = tuple(f * opacity + b * (1 - opacity) for f, b in zip(fill, behind, strict=False))
        if contrast(seen, behind) < 4.5:
            faint[text] = round(contrast(seen, behind), 2)
    return faint


def test_the_texts_of_the_picture_stand_out(page: Page) -> None:
    run(page.minidock, "box", "-p", "127.0.0.1:0:80", "-m", "64m")
    page.show("box")
    browser = page.browser
    faint = {}
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        for keys in (["Home"], ["2", *["ArrowRight"] * 12], ["End"], ["l"], ["l", "1"]):
            browser.press(*keys)
            faint[f"{scheme} {keys[0]}"] = faint_texts(browser)
    browser.prefer()
    assert {view: texts for view, texts in faint.items() if texts} == {}


# How the lit things of a step look: each combination of classes and state once.
LIT = (
    "return [...document.querySelectorAll('#scene .lit')].map(e => e.classList + ' ' +"
    " e.dataset.state + ' ' + Boolean(e.querySelector('.note')?.textContent)).sort().join()"
)


def steps_that_light_otherwise(browser: Browser) -> list[int]:
    """The positions at which something is lit in a way in which nothing was lit before."""
    browser.press("3", "Home")
    last = int(browser.script("return document.querySelector('#scrub').max"))
    seen: dict[str, int] = {}
    for position in range(1, last + 1):
        browser.press("ArrowRight")
        seen.setdefault(browser.script(LIT), position)
    return list(seen.values())


def test_the_texts_of_what_is_lit_stand_out(page: Page) -> None:
    run(page.minidock, "box", "-p", "127.0.0.1:0:80", "-m", "64m")
    page.show("box")
    browser = page.browser
    browser.prefer(prefers_color_scheme="dark", prefers_reduced_motion="reduce")
    positions = steps_that_light_otherwise(browser)
    assert len(positions) > 4
    faint = {}
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        for position in positions:
            browser.script(
                "const scrub = document.querySelector('#scrub'); scrub.value = arguments[0];"
                "scrub.dispatchEvent(new Event('input'))",
                position,
            )
            faint[f"{scheme} {position}"] = faint_texts(browser)
    browser.prefer()
    assert {view: texts for view, texts in faint.items() if texts} == {}


def test_tab_reaches_everything_and_leaves_it_both_ways(page: Page) -> None:
    run(page.minidock, "box", "--net", "none")
    run(page.minidock, "other", "--net", "none")
    page.show("box", "other")
    browser = page.browser
    browser.press("t")
    browser.script("document.activeElement.blur(); scrollTo(0, 0)")
    for backwards in (False, True):
        reached = []
        for _ in range(400):
            if backwards:
                browser.press_together("Shift", "Tab")
            else:
                browser.press("Tab")
            reached.append(browser.script(FOCUSED))
            if len(reached) > 1 and reached[-1] == reached[0]:
                break
        stops = set(reached) - {-1}
        assert len(stops) == browser.script(STOPS) > 30
        assert reached[-1] == reached[0]  # it came round
        assert len(reached) <= len(stops) + 2  # and stayed nowhere


def test_the_focus_is_visible_wherever_it_is(page: Page) -> None:
    """With it and without it, pixels differ by a contrast of 3, as WCAG 2.2 has it (2.4.13)."""
    run(page.minidock, "box", "--net", "none")
    page.show("box")
    browser = page.browser
    for scheme in ("light", "dark"):
        browser.prefer(prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
        unseen, stops = [], browser.script(STOPS)
        for _ in range(stops + 1):
            browser.press("Tab")
            if browser.script(FOCUSED) < 0:
                continue  # between the last and the first
            name = browser.script("return document.activeElement.outerHTML.slice(0, 90)")
            with_focus = picture(browser)
            browser.script("window.on = document.activeElement; window.on.blur()")
            if changed(with_focus, picture(browser)) < 60:
                unseen.append(name)
            browser.script("window.on.focus({preventScroll: true, focusVisible: true})")
        assert unseen == [] and stops > 30
    browser.prefer()


def test_a_click_selects_and_outlines_no_focus(page: Page) -> None:
    run(page.minidock, "box", "--net", "none")
    page.show("box")
    page.browser.click("[data-tile=mount] .tile-title")
    on, outline, selected = page.browser.script(
        "const on = document.activeElement; return [on.parentNode.dataset.tile,"
        " getComputedStyle(on).outlineStyle, document.querySelector('.selected').dataset.tile]"
    )
    assert (on, outline, selected) == ("mount", "none", "mount")


def changed(one: Image.Image, other: Image.Image) -> int:
    """The number of pixels that differ by a contrast of 3 or more."""
    box = ImageChops.difference(one, other).getbbox()
    if box is None:
        return 0
    pairs = Counter(zip(pixels(one.crop(box)), pixels(other.crop(box)), strict=True))
    return sum(count for (a, b), count in pairs.items() if a != b and contrast(a, b) >= 3)


def test_the_keyboard_reaches_and_opens_each_thing_of_the_picture(page: Page) -> None:
    run(page.minidock, "box", "-p", "127.0.0.1:0:80", "-m", "64m")
    page.show("box")
    browser = page.browser
    drawn = set(page.things("#scene :is(.chip, .slab, .pip, .tree, .sieve)"))
    gone = set(page.things("#scene :is(.slab:not(.source), .pip, .tree, .sieve)[data-state=off]"))
    tab_to(browser, "[data-tile=host_processes] .handle")
    first = browser.script(FOCUSED)
    opened = set()
    for _ in range(300):
        browser.press("ArrowDown")
        if browser.script(FOCUSED) == first:
            break
        thing = browser.script(
            "const e = document.activeElement; return e.tabIndex < 0 ? e.dataset.thing : ''"
        )
        if thing:
            browser.press("Enter")
            assert "The operations that made it" in page.text("#details"), thing
            assert thing in page.things("#scene .lit[data-thing]")
            opened.add(thing)
    assert browser.script(FOCUSED) == first
    assert opened == drawn - gone and len(opened) > 50


def tab_to(browser: Browser, selector: str) -> None:
    for _ in range(200):
        if browser.script("return document.activeElement.matches(arguments[0])", selector):
            return
        browser.press("Tab")
    raise AssertionError(f"Tab does not reach {selector}")


def test_each_control_works_by_keys(page: Page) -> None:
    run(page.minidock, "box", "--net", "none")
    run(page.minidock, "other", "--net", "none")
    page.show("box", "other")
    browser = page.browser
    total = page.position()
    _positions_by_keys(page, total)
    tab_to(browser, "[data-zoom][aria-checked=true]")
    for key, zoom in (
        ("ArrowRight", "phases"),
        ("ArrowDown", "operations"),
        ("ArrowLeft", "phases"),
    ):
        browser.press(key)
        chosen = "return document.querySelector('[aria-checked=true]:focus').dataset.zoom"
        assert browser.script(chosen) == zoom
    for button in ("#table-button", "#large-button", "#theme-button"):
        tab_to(browser, button)
        before = browser.script("return document.documentElement.outerHTML.slice(0, 60)"
                                " + document.querySelector('#table').hidden")  # fmt: skip
        browser.press("Enter")
        assert before != browser.script("return document.documentElement.outerHTML.slice(0, 60)"
                                        " + document.querySelector('#table').hidden")  # fmt: skip
        tab_to(browser, button)
        browser.press("Space")
    tab_to(browser, "#speed")
    browser.press("ArrowDown")
    assert browser.script("return player.speed") == 2
    tab_to(browser, "#container")
    browser.press("ArrowDown")
    assert page.text("#title") == "other: sleep · busybox"


def _positions_by_keys(page: Page, total: int) -> None:
    browser = page.browser
    for selector, key, where in (
        ("#first", "Enter", lambda at: at == 0),
        ("#forward", "Space", lambda at: at > 0),
        ("#last", "Enter", lambda at: at == total),
        ("#back", "Enter", lambda at: at < total),
        ("#first", "Space", lambda at: at == 0),
        ("#scrub", "ArrowUp", lambda at: at == 1),
    ):
        tab_to(browser, selector)
        browser.press(key)
        assert where(page.position()), selector
    tab_to(browser, "#play")
    browser.press("Enter")
    browser.await_true("parseInt(document.querySelector('#position').textContent) > 1")
    browser.press("Enter")


def test_the_panel_works_by_keys_and_the_focus_stays_in_it(page: Page) -> None:
    run(page.minidock, "box", "-p", "127.0.0.1:0:80")
    page.show("box")
    browser = page.browser
    inside = "return document.querySelector('#details').contains(document.activeElement)"
    tab_to(browser, ".row-button")
    browser.press("Enter")  # the first row: its tile
    assert browser.script(inside)
    assert browser.script("return player.selection.tile") == "pid"
    tab_to(browser, "#details summary")
    browser.press("Enter", "Enter")  # closed, and open again
    tab_to(browser, "#details .copy")
    browser.press("Enter")
    browser.await_true("document.querySelector('#details .copy').textContent === 'Copied'")
    browser.press_together("Shift", "Tab")
    assert browser.script("return document.activeElement.matches('.seek')")
    browser.press("Enter")
    assert browser.script("return player.selection === null") and browser.script(inside)
    tab_to(browser, "#details .thing")
    browser.press("Enter")
    assert "The operations that made it" in page.text("#details") and browser.script(inside)
    tab_to(browser, "#details .back")
    browser.press("Enter")
    assert "The operations that made it" not in page.text("#details") and browser.script(inside)


def test_a_long_list_grows_by_keys(page: Page) -> None:
    run(page.minidock, "box")
    page.show("box")
    browser = page.browser
    tab_to(browser, "[data-tile=mount] .handle")
    browser.press("Enter")
    count = "return document.querySelectorAll('#details .steps details').length"
    before = browser.script(count)
    tab_to(browser, "#details .steps > li > button")
    browser.press("Enter")
    assert browser.script(count) > before
    assert browser.script("return document.activeElement.closest('.steps') !== null")


def test_the_dialog_keeps_the_focus_until_it_is_closed(page: Page) -> None:
    run(page.minidock, "box", "--net", "none")
    page.show("box")
    browser = page.browser
    tab_to(browser, "#keys-button")
    browser.press("Enter")
    for _ in range(5):
        browser.press("Tab")
        inside = browser.script(
            "return document.activeElement === document.body"
            " || document.activeElement.closest('dialog') !== null"
        )
        assert inside
    browser.press("Escape")
    assert browser.script("return document.activeElement.id") == "keys-button"
    browser.press("Enter")
    tab_to(browser, "dialog button")
    browser.press("Enter")
    assert not browser.script("return document.querySelector('dialog').open")
    assert browser.script("return document.activeElement.id") == "keys-button"
