"""A page of look --export, open in a browser; and axe-core, run over it.

axe-core is Deque's checker of accessibility (Mozilla Public License 2.0). The package
axe-playwright-python (MIT) brings it as a file, which runs in any browser: neither its Python code
nor Playwright is used here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from support.browser import Browser
from support.command import Minidock

# The rules of axe-core: WCAG 2.2 with all that it has from 2.0 and 2.1, levels A and AA, and more.
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


class Page:
    """A container's page, open in a browser."""

    def __init__(self, browser: Browser, minidock: Minidock, file: Path) -> None:
        self.browser = browser
        self.minidock = minidock
        self.file = file

    def show(self, *names: str, flags: tuple[str, ...] = (), hash: str = "") -> None:
        self.minidock.ok("look", "--export", str(self.file), *flags, *names)
        self.browser.open("about:blank")
        self.browser.requests()
        self.browser.complaints()
        self.browser.open(f"file://{self.file}{hash}")

    def reopen(self) -> None:
        self.browser.open("about:blank")
        self.browser.open(f"file://{self.file}")

    def on(self, kind: str) -> set[str]:
        """The names of the things of a kind that the picture shows as being there."""
        found = self.things("#scene [data-state=on]")
        return {name.removeprefix(f"{kind}:") for name in found if name.startswith(f"{kind}:")}

    def things(self, selector: str) -> list[str]:
        """The things (kind:name) that elements show."""
        found: list[str] = self.browser.script(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.dataset.thing)",
            selector,
        )
        return found

    def text(self, selector: str) -> str:
        return str(
            self.browser.script("return document.querySelector(arguments[0]).textContent", selector)
        )

    def position(self) -> int:
        return int(self.text("#position").split("/")[0])

    def listed(self, kind: str) -> set[str]:
        """The second words of the things of a kind in the table of what is there now."""
        rows = self.browser.script(
            "return [...document.querySelectorAll('#table table')[1].tBodies[0].rows]"
            ".map(row => [...row.cells].map(cell => cell.textContent))"
        )
        there = [thing for thing, _, state in rows if state == "there"]
        there = [thing for thing in there if " namespace " not in thing]
        return {
            thing.removeprefix(f"{kind} ").split()[0]
            for thing in there
            if thing.startswith(f"{kind} ")
        }


def axe_source() -> str | None:
    """The script of axe-core, if the package that brings it is installed."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        return None
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


def violations(browser: Browser, axe: str) -> list[str]:
    """What axe-core finds in the page as it is now: the rule, the element, and what is wrong."""
    browser.script(axe)  # it defines window.axe; a driver's script is outside the page's policy
    result: dict[str, Any] = browser.script(
        "return axe.run(document, {runOnly: {type: 'tag', values: arguments[0]},"
        " resultTypes: ['violations']})",
        list(RULES),
    )
    assert result["passes"], "axe-core looked at nothing"
    return [
        f"{rule['id']}: {node['target']}: {node['failureSummary']}"
        for rule in result["violations"]
        for node in rule["nodes"]
    ]
