"""A layer of 512 MB goes through every command in 100 MB of memory; by `make long` one of 2 GB."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from minidock.engine.image.compression import gzip_chunks
from minidock.engine.image.images import ImageStore
from minidock.paths import Store
from support.command import Minidock, command_line, environment
from support.patience import long

pytestmark = [pytest.mark.root, pytest.mark.slow]

SIZE = long(512 << 20, 2 << 30)
PEAK_MAX = 100 << 20
# Runs a command, and notes how much memory the largest process of it and its children has had.
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)
"""


@pytest.fixture
def peak_of(store: Store, tmp_path: Path) -> Callable[..., int]:
    """Runs minidock, which must succeed; its peak of resident memory, in bytes."""

    def run(*words: str, stdout_packed_to: Path | None = None) -> int:
        line = [sys.executable, "-I", "-S", "-c", WATCH, str(tmp_path / "peak"), *command_line()]
        stdout = subprocess.PIPE if stdout_packed_to else subprocess.DEVNULL
        with subprocess.Popen(
            [*line, *words], env=environment(store.root), stdout=stdout
        ) as process:
            if stdout_packed_to is not None:
                assert process.stdout is not None
                chunks = iter(partial(process.stdout.read, 1 << 20), b"")
                with stdout_packed_to.open("wb") as out:
                    out.writelines(gzip_chunks(chunks))
        assert process.returncode == 0
        return int((tmp_path / "peak").read_text())

    return run


def sparse_tar(path: Path) -> None:
    """A tar archive of one large file, most of which is a hole of the archive's file."""
    header = tarfile.TarInfo("big")
    header.size = SIZE
    with path.open("wb") as file:
        file.write(header.tobuf())
        for at in range(0, SIZE, SIZE // 16):
            file.seek(512 + at)
            file.write(b"data")
        file.truncate(512 + SIZE + 1024)


def test_a_large_layer_passes_through_little_memory(
    minidock: Minidock, store: Store, busybox_image: str, peak_of: Callable[..., int],
    tmp_path: Path,
) -> None:  # fmt: skip
    sparse_tar(tmp_path / "rootfs.tar")
    packed = tmp_path / "big.tar.gz"
    peaks = {"import": peak_of("import", str(tmp_path / "rootfs.tar"), "big:1")}
    peaks["save"] = peak_of("save", "big:1", stdout_packed_to=packed)
    minidock.ok("rmi", "big:1")
    peaks["load"] = peak_of("load", "-i", str(packed))

    script = f"truncate -s {SIZE} /big; printf x | dd of=/big bs=1 seek=500000000 conv=notrunc"
    minidock.ok("run", "--name", "large", "--net", "none", busybox_image, "sh", "-c", script)
    peaks["commit"] = peak_of("commit", "large", "large:1")
    peaks["export"] = peak_of("export", "large")
    assert all(peak < PEAK_MAX for peak in peaks.values()), peaks

    for name in ("big:1", "large:1"):
        layer = ImageStore(store).resolve(name).layer_directories()[-1]
        status = Path(layer, "big").stat()
        assert (status.st_size, status.st_blocks * 512 < 32 << 20) == (SIZE, True)
