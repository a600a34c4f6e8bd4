"""What cannot be tried here says the same as what it calls: names, packages, commands."""

from __future__ import annotations

import json
import re

from minidock.cli.commands import COMMANDS
from support.command import REPOSITORY

VAGRANT = REPOSITORY / "vagrant"


def _packages_of_needs(*groups: str) -> set[str]:
    needs = (REPOSITORY / "needs.sh").read_text()
    found: set[str] = set()
    for group in groups:
        match = re.search(rf"^{group}=\((.*?)\)", needs, re.MULTILINE | re.DOTALL)
        assert match, group
        found |= set(match[1].split())
    return found


def test_motd_names_commands_that_exist() -> None:
    said = re.findall(r"\bminidock ([a-z]+)", (VAGRANT / "motd").read_text())
    assert said
    assert set(said) <= set(COMMANDS)


def test_cloud_init_installs_what_minidock_needs() -> None:
    listed = re.findall(
        r"^- ([a-z0-9.-]+)$", (VAGRANT / "cloud-init.yaml").read_text(), re.MULTILINE
    )
    assert _packages_of_needs("run", "python") <= set(listed)


def test_the_image_has_what_provision_would_install() -> None:
    lines = (VAGRANT / "image/packages").read_text().splitlines()
    listed = {word for line in lines if not line.startswith("#") for word in line.split()}
    assert _packages_of_needs("run", "python") <= listed


def test_devcontainer_runs_scripts_that_exist() -> None:
    document = json.loads((REPOSITORY / ".devcontainer/devcontainer.json").read_text())
    assert document["privileged"] is True
    for script in re.findall(r"\./([\w./-]+)", document["postCreateCommand"]):
        assert (REPOSITORY / script).exists()


def test_every_way_in_calls_the_same_script() -> None:
    for file in (
        "vagrant/lima.yaml",
        "vagrant/cloud-init.yaml",
        "Vagrantfile",
        ".devcontainer/devcontainer.json",
    ):
        assert "vagrant/provision.sh" in (REPOSITORY / file).read_text(), file


def test_vagrant_copies_no_more_than_git_would() -> None:
    """What rsync leaves out, and so deletes nowhere, is what git leaves out too."""
    vagrantfile = (REPOSITORY / "Vagrantfile").read_text()
    left_out = re.search(r"def not_copied\s+%w\[(.*?)\]", vagrantfile, re.DOTALL)
    assert left_out
    ignored = (REPOSITORY / ".gitignore").read_text().replace("\n/", "\n")
    for folder in left_out[1].split():
        assert folder == ".git/" or folder in ignored, folder


def test_readme_has_the_section_that_vagrant_test_follows() -> None:
    script = (VAGRANT / "test").read_text()
    heading = re.search(r'\$0 == "(## [^"]+)"', script)
    assert heading
    section = (REPOSITORY / "README.md").read_text().partition(heading[1] + "\n")[2]
    lines = re.sub(r" *#.*", "", section.partition("\n## ")[0]).splitlines()
    for looked_at in re.findall(r"^\s+'((?:make|vagrant) [^']+)'\)", script, re.MULTILINE):
        assert looked_at in lines, looked_at
