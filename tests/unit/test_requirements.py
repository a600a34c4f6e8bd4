"""What install.sh installs: each package that pyproject.toml asks for, pinned, with its hashes."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.command import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
RUN, BUILD = "requirements.lock", "requirements-build.lock"


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """package -> (version, hashes)."""
    text = re.sub(r"\\\n", " ", (REPOSITORY / name).read_text())
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    entry = re.compile(r"([\w.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})+)\s*")
    entries = [entry.fullmatch(line) for line in lines]
    assert None not in entries, f"{name}: a line that is not NAME==VERSION with hashes"
    return {canonicalize_name(e[1]): (e[2], re.findall(r"sha256:\w+", e[3])) for e in entries if e}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (RUN, PROJECT["project"]["dependencies"]),
        (BUILD, [*PROJECT["build-system"]["requires"], "setuptools"]),
    ],
    ids=["run", "build"],
)
def test_lock_satisfies_pyproject(name: str, wanted: list[str]) -> None:
    """After a change of pyproject.toml: make lock."""
    lock = locked(name)
    for text in wanted:
        requirement = Requirement(text)
        version, hashes = lock[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), text
        assert len(set(hashes)) == len(hashes) > 0


def test_lock_has_what_its_packages_need_in_turn() -> None:
    """By what this environment's packages say that they need: install.sh takes no other."""
    lock = locked(RUN)
    for name in lock:
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                assert canonicalize_name(needed.name) in lock, f"{name} needs {text}"


def test_install_asks_for_the_hash_of_each_package() -> None:
    """pip accepts packages without a hash from any server, unless configured otherwise."""
    lines = (REPOSITORY / "install.sh").read_text().splitlines()
    fetching = [line for line in lines if re.search(r'"\$\{pip\[@\]\}" (install|wheel)', line)]
    assert len(fetching) == 3
    for line in fetching:
        assert "--require-hashes" in line or "--no-deps --no-build-isolation" in line, line
