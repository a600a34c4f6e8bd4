"""install.sh, from a clean copy of the source into a place of its own, and away again."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import machine, stores
from support.command import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.xdist_group("install")]


class Installed:
    """minidock as install.sh leaves it, below one directory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.source = home / "source"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))},
            "PREFIX": str(home / "opt"),
            "BIN": str(home / "bin"),
            "SHARE": str(home / "share"),
            "UNITS": str(home / "units"),
            "MINIDOCK_ROOT": str(home / "store"),
            "NEEDS": "no",
            "PYTHONDONTWRITEBYTECODE": "1",  # as some machines have it: we compile all the same
        }

    def install(self, *arguments: str) -> str:
        """Run install.sh; returns what it said."""
        done = subprocess.run(
            ["./install.sh", *arguments],
            cwd=self.source,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(self, *words: str) -> str:
        """Run an installed command with nothing of this process's environment."""
        done = subprocess.run(
            [self.home / "bin" / words[0], *words[1:]],
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "MINIDOCK_ROOT": str(self.home / "store")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    home = tmp_path_factory.mktemp("installed")
    (home / "source").mkdir()
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        target = home / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, target)
    made = Installed(home)
    made.install()
    yield made
    made.install("--uninstall")


def test_installed_commands_run_without_an_environment(installed: Installed) -> None:
    assert installed.run("minidock", "--version").startswith("minidock version")
    assert "minidock-runtime" in installed.run("minidock-runtime", "--help")


def test_installed_source_may_go_away(installed: Installed) -> None:
    installed.source.rename(installed.home / "moved")
    try:
        assert "busybox" in installed.run("minidock", "image", "make")
    finally:
        (installed.home / "moved").rename(installed.source)


def test_installed_packages_are_the_locked_ones(installed: Installed) -> None:
    lock = (installed.source / "requirements.lock").read_text()
    pinned = re.finditer(r"(?m)^(\S+)==(\S+)", lock)
    locked = {(m[1].lower().replace("-", "_"), m[2]) for m in pinned}
    found = {
        (name.lower().replace("-", "_"), version)
        for path in (installed.home / "opt").rglob("site-packages/*.dist-info")
        for name, _, version in [path.name.removesuffix(".dist-info").rpartition("-")]
    }
    assert {name for name, _ in found - locked} == {"minidock"}
    assert locked <= found


def test_package_that_is_not_the_locked_one_is_not_installed(installed: Installed) -> None:
    lock = installed.source / "requirements.lock"
    whole = lock.read_text()
    before = sorted((installed.home / "opt").rglob("*"))
    lock.write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", whole))
    try:
        done = subprocess.run(
            ["./install.sh"], cwd=installed.source, env=installed.environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        lock.write_text(whole)
    assert done.returncode != 0 and "DO NOT MATCH THE HASHES" in done.stderr, done.stderr
    assert sorted((installed.home / "opt").rglob("*")) == before


def test_installed_recipes_come_along(installed: Installed) -> None:
    for recipe in ("busybox/recipe", "python/Dockerfile", "python/pip.conf"):
        found = list((installed.home / "opt").rglob(f"minidock/recipes/{recipe}"))
        assert len(found) == 1, recipe


def test_installed_labs_come_along(installed: Installed, tmp_path: Path) -> None:
    assert "11-image" in installed.run("minidock", "lab", "list")
    installed.run("minidock", "lab", "start", "00", str(tmp_path / "mine"))
    assert os.access(tmp_path / "mine/box", os.X_OK)
    [solution] = (installed.home / "opt").rglob("minidock/labs/00-chroot/solution")
    shutil.copytree(solution, tmp_path / "mine", dirs_exist_ok=True)
    assert "100 of 100 points" in installed.run("minidock", "lab", "check", str(tmp_path / "mine"))


def test_every_installed_module_is_compiled(installed: Installed) -> None:
    sources = list((installed.home / "opt").rglob("site-packages/minidock/**/*.py"))
    assert sources
    for source in sources:
        assert list(source.parent.glob(f"__pycache__/{source.stem}.*.pyc")), source


def test_launcher_runs_neither_site_nor_re(installed: Installed) -> None:
    launcher = (installed.home / "opt/bin/minidock-runtime").read_text()
    python = f"{installed.home}/opt/bin/python3"
    assert launcher.startswith("#!/bin/sh\n")
    assert f"python={python}\n" in launcher
    program = launcher.split("'")[1]
    done = subprocess.run(
        [python, "-IS", "-X", "importtime", "-c", program, "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "minidock.runtime.arguments" in loaded
    assert not loaded & {"site", "re", "pathlib"}


def test_unit_for_the_boot_calls_the_installed_command(installed: Installed) -> None:
    unit = (installed.home / "units/minidock.service").read_text()
    calls = [line.partition("=-")[2] for line in unit.splitlines() if line.startswith("Exec")]
    commands = [call.rpartition(" system ") for call in calls]
    assert [verb for _, _, verb in commands] == ["start-all", "stop-all"]
    for command, _, verb in commands:
        assert command == str(installed.home / "bin/minidock")
        installed.run("minidock", "system", verb)  # with nothing to do: it succeeds and is silent


def test_bash_completes_an_installed_command(installed: Installed) -> None:
    completion = installed.home / "share/bash-completion/completions/minidock"
    typed = (
        f"source {completion}; COMP_WORDS=(minidock ru); COMP_CWORD=1; "
        "$(complete -p minidock | sed 's/.*-F \\([^ ]*\\).*/\\1/') minidock ru minidock; "
        "echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(
        ["bash", "-c", typed],
        env={"PATH": f"{installed.home}/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "run" in done.stdout.split(), done.stderr
    for name in ("zsh/site-functions/_minidock", "fish/vendor_completions.d/minidock.fish"):
        assert "minidock" in (installed.home / "share" / name).read_text()


def test_uninstall_takes_away_what_install_put_there(installed: Installed) -> None:
    store = Store(str(installed.home / "store"))
    try:
        installed.run("minidock", "image", "make", "busybox")
        installed.run("minidock", "run", "-d", "--name", "box", "busybox", "sleep", "600")
        assert "the bridge and its firewall rules stay" in installed.install("--uninstall")
        assert store.bridge in machine.links()
        installed.install()
        installed.run("minidock", "rm", "-f", "box")
        installed.install("--uninstall")
        assert store.bridge not in machine.links()
        assert not any(store.bridge in rule for rule in machine.firewall_rules())
    finally:
        stores.wipe(store)
    left = [p for p in installed.home.rglob("*") if p.is_file() and "source" not in p.parts]
    assert [p for p in left if "store" not in p.parts] == []
    installed.install()
