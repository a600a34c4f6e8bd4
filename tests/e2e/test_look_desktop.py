"""look opens the page in the browser of who called sudo: as them, and without telling the token."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support.browser import Browser
from support.command import command_line, environment
from support.patience import await_true, patience

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("browser")]

UID = 54321  # a user of the test's own /etc/passwd
XDG_OPEN = """#!/bin/sh
{ id -u; id -G; echo "$#"; echo "$DISPLAY"; stat -c '%u %a' "$1"; echo "$1"; } > "$HOME/told"
mv "$HOME/told" "$HOME/opened"
"""


class Desktop:
    """A user's home, and `look` as that user calls it by sudo."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = store
        self.home = directory / "home"
        self.home.mkdir(parents=True)
        subprocess.run(["chown", f"{UID}:{UID}", self.home], check=True)
        self.passwd = directory / "passwd"
        line = f"student:x:{UID}:{UID}::{self.home}:/bin/sh\n"
        self.passwd.write_text(Path("/etc/passwd").read_text() + line)
        self.programs = directory / "programs"
        self.programs.mkdir()
        (self.programs / "xdg-open").write_text(XDG_OPEN)
        (self.programs / "xdg-open").chmod(0o755)
        for path in (directory, *directory.parents):
            if not path.stat().st_mode & 1:
                path.chmod(path.stat().st_mode | 0o111)  # the user has to reach it
        self.looks: list[subprocess.Popen[str]] = []

    def look(self, *words: str, **variables: str) -> tuple[subprocess.Popen[str], str, str]:
        """(process, its address, what it says of it)"""
        known = environment(self.store.root)
        path = f"{self.programs}:{known['PATH']}"
        look = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"',
             self.passwd, *command_line(), "look", *words],
            env={**known, "PATH": path, "SUDO_UID": str(UID), **variables},
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.looks.append(look)
        assert look.stdout is not None and look.stderr is not None
        return look, look.stdout.readline().strip(), look.stderr.readline().strip()

    def opened(self) -> list[str]:
        """What xdg-open was called with, and as whom."""
        await_true((self.home / "opened").exists, patience(20))
        found = (self.home / "opened").read_text().splitlines()
        (self.home / "opened").unlink()
        return found


@pytest.fixture
def desktop(store: Store, busybox_image: str, tmp_path: Path) -> Iterator[Desktop]:
    made = Desktop(store, tmp_path / "desktop")
    yield made
    for look in made.looks:
        look.kill()
        look.communicate()


def _arguments_with(text: str) -> list[bytes]:
    """The argument lists of all processes that contain a text."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = file.read_bytes()
        except OSError:
            continue
        found += [arguments] if text.encode() in arguments else []
    return found


def test_it_is_opened_as_the_user_by_a_file_that_goes_away(
    desktop: Desktop, tmp_path: Path
) -> None:
    _, address, said = desktop.look(DISPLAY=":9")
    assert said == "Ctrl-C ends."
    uid, groups, count, display, owner, file = desktop.opened()
    assert (uid, groups, count, display) == (str(UID), str(UID), "1", ":9")
    assert owner == f"{UID} 600" and Path(file).parent == desktop.home
    assert _arguments_with(address.partition("token=")[2]) == []
    (tmp_path / "profile").mkdir()
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"file://{file}")
        browser.await_true("document.getElementById('said')?.innerText.startsWith('No container')")
    await_true(lambda: not Path(file).exists(), patience(20))


def test_the_file_does_not_outlive_look(desktop: Desktop) -> None:
    look, _, _ = desktop.look(DISPLAY=":9")
    file = Path(desktop.opened()[-1])
    assert file.exists()
    look.kill()
    await_true(lambda: not file.exists(), patience(20))


@pytest.mark.parametrize(
    ("words", "variables"),
    [
        ((), {}),
        (("--open=false",), {"DISPLAY": ":9"}),
        ((), {"DISPLAY": ":9", "SUDO_UID": "0"}),
        ((), {"DISPLAY": ":9", "SUDO_UID": "4294967296"}),
        ((), {"DISPLAY": ":9", "SUDO_UID": "54322"}),
    ],
    ids=["no desktop", "not wanted", "root", "no uid", "no user"],
)
def test_nothing_is_opened(
    desktop: Desktop, words: tuple[str, ...], variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("DISPLAY", raising=False)
    look, address, said = desktop.look(*words, **variables)
    assert said.startswith("Open it in a browser") and "token=" in address
    children = Path(f"/proc/{look.pid}/task/{look.pid}/children").read_text()
    assert children == "" and list(desktop.home.iterdir()) == []
