"""`image make` of a folder with a Dockerfile: its base, its tags, its failures."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command import Minidock

pytestmark = pytest.mark.root

STATUS = """\
Package: base-files
Version: 13.8

Package: tool
Status: install ok installed
Version: 5:8.0.2-3+deb13u3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "tool"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM busybox\nCOPY status /var/lib/dpkg/\n")
    (folder / "status").write_text(STATUS)
    return folder


def _names(minidock: Minidock) -> set[str]:
    return set(minidock.ok("images", "--format", "{{.Repository}}:{{.Tag}}").split())


def test_base_that_has_a_recipe_is_made_and_tags_follow_a_package(
    minidock: Minidock, folder: Path
) -> None:
    (folder / "tags").write_text("tool slim\n")
    result = minidock("image", "make", str(folder))
    assert (result.code, result.stdout) == (0, "tool:latest\n"), str(result)
    further = {"tool:8", "tool:8.0", "tool:slim", "tool:8-slim", "tool:8.0-slim"}
    assert _names(minidock) == {"busybox:latest", "tool:latest", *further}
    ids = minidock.ok("images", "-q", "tool").split()
    assert len(set(ids)) == 1


def test_base_that_is_here_is_taken_as_it_is(
    minidock: Minidock, busybox_image: str, folder: Path
) -> None:
    before = minidock.ok("images", "-q", busybox_image)
    assert minidock.ok("image", "make", "-q", str(folder)) == "tool:latest"
    assert minidock.ok("images", "-q", busybox_image) == before


def test_package_that_is_not_there_is_named(minidock: Minidock, folder: Path) -> None:
    (folder / "tags").write_text("other\n")
    result = minidock("image", "make", "-q", str(folder))
    assert result.code == 1
    assert "lacks the package other" in result.stderr


def test_failing_build_shows_the_line_and_keeps_no_image(
    minidock: Minidock, busybox_image: str, folder: Path
) -> None:
    (folder / "Dockerfile").write_text(f"FROM {busybox_image}\nRUN echo no such mirror; exit 3\n")
    result = minidock("image", "make", str(folder))
    assert result.code == 1
    assert "Dockerfile:2" in result.stderr and "exit code: 3" in result.stderr
    assert _names(minidock) == {busybox_image}


def test_status_that_is_a_link_out_of_the_image_is_not_followed(
    minidock: Minidock, folder: Path
) -> None:
    (folder / "outside").write_text(STATUS)
    link = f"mkdir -p /var/lib/dpkg && ln -s {folder}/outside /var/lib/dpkg/status"
    (folder / "Dockerfile").write_text(f"FROM busybox\nRUN {link}\n")
    (folder / "tags").write_text("tool\n")
    result = minidock("image", "make", "-q", str(folder))
    assert result.code == 1
    assert "lacks the package tool" in result.stderr
