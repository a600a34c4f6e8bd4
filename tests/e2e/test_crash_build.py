"""kill -9 before the changes of files that a build makes: the next command finds nothing of it.

A build writes into its entry of staging/, makes a container for each RUN, mounts secrets and
stages for that, brings layers into the store, and an image. Each case: the build, or the monitor of
its RUN, dies before its n-th change of a file or directory. Then `ps` must be empty, nothing may be
left in the kernel, in /run or in staging/, and what is in the store must be whole.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minidock.engine.build.build import build
from minidock.engine.build.options import Options, Secret
from minidock.engine.build.progress import Progress
from minidock.engine.container import lookup
from minidock.engine.image.build_cache import records
from minidock.engine.image.images import ImageStore
from minidock.engine.image.layers import read_layer
from minidock.paths import Store
from support.building import context
from support.crash import Stage
from support.crash_acts import at_each_file

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]  # by execnet

_DOCKERFILE = """\
FROM scratch AS files
COPY . /
FROM busybox
WORKDIR /work
RUN --mount=type=secret,id=s --mount=type=cache,target=/c --mount=from=files,target=/f \
    cat /run/secrets/s /f/a >/made
"""


def _options(folder: Path) -> Options:
    options = Options(context(folder, _DOCKERFILE, a="of the context"))
    options.tags = ["built:latest"]
    options.no_cache = True
    options.secrets = {"s": Secret("s", path=f"{folder}/a")}
    return options


def _is_whole(store: Store) -> None:
    """Nothing of a build is left; images have all their layers, and records of the cache theirs."""
    assert lookup.list_containers(store) == []
    images = ImageStore(store)
    for image in images.list():
        assert all(os.path.isdir(place) for place in image.layer_directories())
    for _, record in records(store):
        if os.path.isdir(store.layer(record["chain_id"])):
            assert read_layer(store, record["chain_id"])["diff_id"] == record["diff_id"]


@pytest.mark.parametrize(("victim", "stride"), [("at_file", 3), ("monitor_at_file", 4)])
def test_build_is_cut_short_before_changes(
    stage: Stage, tmp_path: Path, victim: str, stride: int
) -> None:
    options = _options(tmp_path / "context")

    def act(store: Store) -> None:
        build(store, options, Progress())

    assert at_each_file(stage, act, after=_is_whole, victim=victim, stride=stride) >= 10
