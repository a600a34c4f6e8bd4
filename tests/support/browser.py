"""A headless Chromium, driven by Debian's chromedriver: pages as a person uses them.

    with Browser(tmp_path) as browser:
        browser.open(f"file://{page}")
        browser.script("return document.title")
        browser.click("#play"); browser.press("ArrowRight")
        browser.requests()     the address of each request since the page was opened

The protocol is W3C WebDriver: JSON over HTTP, which needs no library. Requests come from the
browser's own log of its network layer.

Source: W3C, "WebDriver"; ChromeDriver, "Performance Log".
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from support.patience import patience

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard gives to elements
# The keys of WebDriver's "keyboard actions" that are not characters.
KEYS = {
    "Enter": "\ue007", "Escape": "\ue00c", "Space": " ", "Tab": "\ue004", "Home": "\ue011",
    "End": "\ue010", "ArrowLeft": "\ue012", "ArrowUp": "\ue013", "ArrowRight": "\ue014",
    "ArrowDown": "\ue015", "Shift": "\ue008", "PageUp": "\ue00e", "PageDown": "\ue00f",
}  # fmt: skip
_OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


class Browser:
    """A browser with one page. directory: for its profile."""

    def __init__(self, directory: Path, *, width: int = 1600, height: int = 900) -> None:
        self._directory = directory
        self._size = f"--window-size={width},{height}"
        self._session = ""

    def __enter__(self) -> Browser:
        log = self._directory / "chromedriver.log"
        with open(log, "wb") as out:
            self._driver = subprocess.Popen(
                ["chromedriver", "--port=0"], stdout=out, stderr=out, start_new_session=True,
                env={**os.environ, "HOME": str(self._directory)},
            )  # fmt: skip
        try:
            self._port = self._await_port(log)
            self._begin()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._end()

    def _end(self) -> None:
        os.killpg(self._driver.pid, signal.SIGKILL)
        self._driver.wait()

    def _await_port(self, log: Path) -> int:
        deadline = time.monotonic() + patience(20)
        while not (found := re.search(r"successfully on port ([0-9]+)\.", log.read_text())):
            assert time.monotonic() < deadline and self._driver.poll() is None, log.read_text()
            time.sleep(0.05)
        return int(found[1])

    def _begin(self) -> None:
        arguments = [*_OPTIONS, self._size, f"--user-data-dir={self._directory / 'profile'}"]
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": "/usr/bin/chromium", "args": arguments},
            "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
        }
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def _call(self, method: str, path: str, body: object = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=patience(60))
        text = None if body is None else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json"})
        value = json.loads(connection.getresponse().read())["value"]
        connection.close()
        assert not (isinstance(value, dict) and "error" in value), value
        return value

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        return self._call(method, self._session + path, body)

    def open(self, address: str) -> None:
        self._ask("POST", "/url", {"url": address})

    def script(self, text: str, *arguments: object) -> Any:
        """What a function body returns in the page."""
        return self._ask("POST", "/execute/sync", {"script": text, "args": list(arguments)})

    def command(self, name: str, **parameters: object) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def click(self, selector: str) -> None:
        """Click where a person would: in the middle of the element, if nothing covers it."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/click", {})

    def press(self, *keys: str) -> None:
        """Press keys one after the other: names of KEYS, or characters."""
        acts = [
            {"type": kind, "value": KEYS.get(key, key)}
            for key in keys
            for kind in ("keyDown", "keyUp")
        ]
        self._act(acts)

    def press_together(self, held: str, key: str) -> None:
        """Press a key while another one is held down."""
        codes = [KEYS.get(each, each) for each in (held, key)]
        acts = [{"type": "keyDown", "value": code} for code in codes]
        self._act(acts + [{"type": "keyUp", "value": code} for code in reversed(codes)])

    def _act(self, acts: list[dict[str, str]]) -> None:
        actions = [{"type": "key", "id": "keyboard", "actions": acts}]
        self._ask("POST", "/actions", {"actions": actions})

    def prefer(self, **features: str) -> None:
        """What the reader prefers, as media features; without any, what the browser has."""
        wanted = [
            {"name": name.replace("_", "-"), "value": value} for name, value in features.items()
        ]
        self.command("Emulation.setEmulatedMedia", features=wanted)

    def resize(self, width: int = 0, height: int = 0) -> None:
        """Make the page so many pixels large; without numbers, as large as the window."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1 if width else 0, mobile=False,
        )  # fmt: skip

    def await_true(self, expression: str, seconds: float = 10) -> None:
        """Wait until an expression of the page is true."""
        deadline = time.monotonic() + patience(seconds)
        while not self.script(f"return Boolean({expression})"):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)

    def requests(self) -> list[str]:
        """The addresses that the browser has asked for since the last call."""
        found = []
        for entry in self._ask("POST", "/se/log", {"type": "performance"}):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                found.append(message["params"]["request"]["url"])
        return found

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the content security policy has blocked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def png(self) -> bytes:
        """What the browser shows."""
        return base64.b64decode(self._ask("GET", "/screenshot"))
