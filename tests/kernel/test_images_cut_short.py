"""A kill between two renames: images.json and the layers agree again with the next command."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from minidock.engine.image import images_json
from minidock.engine.image.archive import load
from minidock.engine.image.build_cache import Cache
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import StagedLayer
from minidock.engine.image.lock import ImagesLock
from minidock.engine.store.store import Staging
from minidock.paths import Store
from support import archives
from support.archives import file

pytestmark = pytest.mark.root

SOURCE = Path(__file__).parents[2] / "src"
LAYERS = [archives.layer(file(name, name.encode())) for name in ("one", "two", "three")]

KILLED = """
import os, signal, sys
from minidock.engine.image import images_json
from minidock.paths import Store

def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

"""
LOADING = """
from minidock.engine.image.archive import load
load(Store(), open(sys.argv[1], "rb"))
"""
REMOVING = """
from minidock.engine.image.removal import remove
remove(Store(), "small:1", force=False, in_use=lambda image_id: [])
"""
PRUNING = """
from minidock.engine.build.prune import prune
prune(Store(), everything=False)
"""
MOMENTS = {
    "before images.json": """
write = images_json.write
images_json.write = lambda store, new: die() if new["images"] else write(store, new)
""",
    "before any images.json": "images_json.write = die\n",
    "before a layer": """
rename = os.rename
os.rename = lambda old, new: die() if "/layers/" in old + new else rename(old, new)
""",
    "after a layer": """
rename = os.rename
def renaming(old, new):
    rename(old, new)
    if "/layers/" in old + new:
        die()
os.rename = renaming
""",
}


def cut_short(*program: str, arguments: tuple[object, ...] = ()) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED + "".join(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    assert killed.returncode == -signal.SIGKILL


def settled(store: Store) -> None:
    """What any command that changes the store does first; afterwards all that is there is named."""
    with ImagesLock(store):
        images = images_json.read(store)["images"]
        layers = {chain_id for image in images.values() for chain_id in image["layers"]}
        assert set(os.listdir(store.layers)) == {c.removeprefix("sha256:") for c in layers}
        assert set(os.listdir(store.blobs)) == {i.removeprefix("sha256:") for i in images}
    assert os.listdir(store.staging) == []
    assert not [name for name in os.listdir(store.root) if name.endswith(".new")]


@pytest.mark.parametrize("moment", MOMENTS)
def test_load(store: Store, tmp_path: Path, moment: str) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(archives.docker_archive(LAYERS, tags=["small:1"]))
    cut_short(MOMENTS[moment], LOADING, arguments=(path,))
    settled(store)
    assert ImageStore(store).list() == []
    load(store, path.open("rb"))
    settled(store)
    assert len(ImageStore(store).resolve("small:1").layer_directories()) == len(LAYERS)


@pytest.mark.parametrize("moment", MOMENTS)
def test_rmi(store: Store, moment: str) -> None:
    load(store, io.BytesIO(archives.docker_archive(LAYERS[:1], tags=["other:1"])))
    load(store, io.BytesIO(archives.docker_archive(LAYERS, tags=["small:1"])))
    cut_short(MOMENTS[moment], REMOVING)
    settled(store)
    names = [name for image in ImageStore(store).list() for name in image.references]
    still = ["small:1"] if moment == "before a layer" else []
    assert sorted(names) == ["other:1", *still]
    for image in ImageStore(store).list():
        assert all(os.path.isdir(directory) for directory in image.layer_directories())


@pytest.mark.parametrize("moment", ["before images.json", "after a layer"])
def test_build_from_an_image_whose_removal_was_cut_short(
    store: Store, tmp_path: Path, moment: str
) -> None:
    """It is gone, so that the build asks its registry; nobody listens there."""
    name = "localhost:1/small:1"
    load(store, io.BytesIO(archives.docker_archive(LAYERS, tags=[name])))
    cut_short(MOMENTS[moment].replace('new["images"]', "True"), REMOVING.replace("small:1", name))
    (tmp_path / "Dockerfile").write_text(f"FROM {name}\nRUN true\n")
    built = subprocess.run(
        [sys.executable, "-m", "minidock", "build", tmp_path],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "MINIDOCK_ROOT": store.root},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 1 and "onnection refused" in built.stderr, built.stderr
    assert ImageStore(store).list() == []


@pytest.mark.parametrize("moment", ["before a layer", "after a layer"])
def test_builder_prune(store: Store, moment: str) -> None:
    with Cache(store) as cache, Staging(store, "build") as staging:
        path = f"{staging.path}/layer"
        os.makedirs(f"{path}/diff")
        digest = "sha256:" + "1" * 64
        cache.add(
            "sha256:" + "2" * 64, digest, StagedLayer(path, digest, 0), description="RUN true"
        )
    assert os.listdir(store.layers) == ["1" * 64]
    cut_short(MOMENTS[moment], PRUNING)
    settled(store)
