"""-v's options, one and two at a time, against what docker 26.1 said of each."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from minidock.engine.container.mount_points import mount_points
from minidock.errors import UsageError
from minidock.paths import Store
from support.command import REPOSITORY

LINES = (REPOSITORY / "tests/support/volume_modes.txt").read_text().splitlines()
WORDS = next(line.split(": ")[1].split() for line in LINES if line.startswith("# words"))
ANSWERS = {
    (kind, mode): (writable == "rw", propagation.replace("-", ""))
    for kind, mode, writable, propagation in (line.split() for line in LINES if line[0] != "#")
}
SOURCES = {"volume": "vol", "bind": "/srv"}


def said(store: Store, text: str) -> tuple[bool, str] | None:
    """RW and propagation of one -v; None where it is refused."""
    document = {"HostConfig": {"Binds": [text]}, "Config": {}}
    try:
        (point,) = mount_points(store, document)
    except UsageError:
        return None
    return point["RW"], point["Propagation"]


@pytest.mark.parametrize("kind", SOURCES)
def test_each_pair_of_options_is_taken_or_refused_as_by_docker(store: Store, kind: str) -> None:
    modes = {",".join(pair) for pair in itertools.product(WORDS, repeat=2)} | {*WORDS}
    modes |= {mode for _, mode in ANSWERS} | {"ro,z,Z", "z,ro,rw", "ro,cached,delegated"}
    assert len(modes) > 300
    got = {mode: said(store, f"{SOURCES[kind]}:/v:{mode}") for mode in modes}
    wanted = {mode: ANSWERS.get((kind, mode)) for mode in modes}
    assert {m: (got[m], wanted[m]) for m in modes if got[m] != wanted[m]} == {}


@pytest.mark.parametrize(
    "source",
    ["..", "../x", "a/b", "~/x", "", "日本", "-a", ".a", "a b", "a" * 4096, "a\x7f", "~", "a"],
)
def test_what_is_no_volumes_name_is_refused_before_anything_is_made(
    store: Store, source: str
) -> None:
    for host in (
        {"Binds": [f"{source}:/v"]},
        {"Mounts": [{"Type": "volume", "Source": source, "Target": "/v"}]},
    ):
        if source or "Binds" in host:
            with pytest.raises(UsageError):
                mount_points(store, {"HostConfig": host, "Config": {}})
    assert not Path(store.volumes).exists()
