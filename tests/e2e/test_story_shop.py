"""An application of three containers, by a script that says `docker`: it runs unchanged."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.base_images import GROUP, BaseImages, Shell
from support.ports import free_port

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600), GROUP]

STORIES = Path(__file__).parent / "stories"
PRINTED = """\
orders
tea
1 of them since the cache began
tea
bread
2 of them since the cache began
2
tea
bread
cache redis running
db postgres running
web shop running
open
1
db
cache
orders
tea
bread
milk
1 of them since the cache began
it is in use
web
cache
db
shop
orders"""


@pytest.fixture
def shell(base_images: BaseImages, tmp_path: Path) -> Iterator[Shell]:
    store = base_images.need("python", "redis", "postgres", "busybox").root
    shell = Shell(store, tmp_path)
    (tmp_path / "bin/minidock").rename(tmp_path / "bin/docker")
    shutil.copytree(STORIES / "shop", shell.folder / "shop")
    yield shell
    base_images.clean()


def test_orders_outlive_the_database_that_took_them(shell: Shell) -> None:
    script = (STORIES / "shop.sh").read_text()
    assert shell(f"PORT={free_port()}\n{script}", timeout_seconds=200) == PRINTED
