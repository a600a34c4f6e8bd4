"""Image recipes: found by name or path, run by a shell; a failure shows its own message."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from minidock.cli.output.build_progress import Screen
from minidock.engine.build import recipe
from minidock.engine.image import recipes
from minidock.errors import MinidockError, NotFound
from minidock.paths import Store


def test_each_recipe_that_comes_along_has_changes_and_a_readme() -> None:
    assert {"busybox", "debian", "nginx", "node", "postgres", "python", "redis"} <= set(
        recipes.names()
    )
    for name in recipes.names():
        folder = Path(recipes.recipes_folder(), name)
        if not (folder / "Dockerfile").exists():
            assert recipes.changes(str(folder))
        assert (folder / "README.md").read_text().startswith(f"# {name}\n")


def test_unknown_recipe_is_refused_with_the_names_that_exist(store: Store) -> None:
    with pytest.raises(NotFound, match="No such recipe: gentoo") as refused:
        recipe.make(store, "gentoo", output=recipe.RecipeOutput(print, Screen))
    assert "busybox" in refused.value.hint


def test_failing_recipe_says_its_last_words_and_keeps_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "recipe").write_text("echo first >&2; echo no such mirror >&2; exit 3\n")
    heard: list[str] = []
    with pytest.raises(MinidockError, match="failed with exit code 3") as failed:
        recipe.make(store, str(tmp_path), output=recipe.RecipeOutput(heard.append, Screen))
    assert failed.value.hint == "no such mirror"
    assert heard == ["first", "no such mirror"]
    assert not Path(store.images).exists()
    assert list(Path(store.staging).iterdir()) == []


def test_changes_leave_out_comments_and_empty_lines(tmp_path: Path) -> None:
    (tmp_path / "changes").write_text('# the config\n\nCMD ["sh"]\n')
    assert recipes.changes(str(tmp_path)) == ['CMD ["sh"]']


@pytest.mark.slow
def test_busybox_recipe_makes_the_same_bytes_each_time(busybox_tar: Path) -> None:
    again = subprocess.run(["sh", "images/busybox/recipe"], capture_output=True, check=True)
    assert again.stdout == busybox_tar.read_bytes()


@pytest.mark.slow
def test_busybox_image_is_one_binary_under_many_names(busybox_tar: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(busybox_tar.read_bytes())) as tar:
        members = {m.name.removeprefix("./"): m for m in tar}
    files = [m for m in members.values() if m.isreg() and m.size > 100_000]
    assert len(files) == 1
    assert {"bin/sh", "bin/ls", "usr/sbin/httpd", "usr/bin/env"} <= set(members)
    assert members["linuxrc"].islnk()  # a command in no directory
    assert all(m.uid == m.gid == 0 for m in members.values())
    assert members["tmp"].mode == 0o1777
    assert members["."].mode == 0o755
