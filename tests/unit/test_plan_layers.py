"""Layers that are not mounted, as a process inside would see them: links, and what is missing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from minidock.errors import KernelError
from minidock.teach.plan.rootfs import Layers


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    top, bottom = tmp_path / "top", tmp_path / "bottom"
    (top / "etc").mkdir(parents=True)
    (bottom / "etc").mkdir(parents=True)
    (bottom / "usr/bin").mkdir(parents=True)
    (bottom / "usr/bin/tool").write_text("below")
    (bottom / "usr/bin/tool").chmod(0o755)
    (bottom / "bin").symlink_to("usr/bin")
    (bottom / "etc/passwd").write_text("below")
    (top / "etc/passwd").write_text("above")
    (top / "etc/resolv.conf").symlink_to("../run/there/resolv.conf")
    (bottom / "etc/out").symlink_to("../../../../../../../etc/passwd")
    (bottom / "etc/absolute").symlink_to("/etc/passwd")
    (bottom / "etc/circle").symlink_to("circle")
    return Layers([str(top), str(bottom)])


def _content(layers: Layers, path: str) -> str:
    fd = layers.open(path)
    try:
        return Path(f"/proc/self/fd/{fd}").read_text()
    finally:
        os.close(fd)


def test_the_topmost_file_is_seen(layers: Layers) -> None:
    assert _content(layers, "/etc/passwd") == "above"


@pytest.mark.parametrize("link", ["/etc/out", "/etc/absolute", "/etc/../etc/./absolute"])
def test_no_link_leads_out_of_the_layers(layers: Layers, link: str) -> None:
    assert _content(layers, link) == "above"
    assert layers.resolve(link) == "/etc/passwd"


def test_a_directory_by_a_link_in_a_lower_layer(layers: Layers) -> None:
    mode = layers.mode("/bin/tool")
    assert mode is not None and stat.S_ISREG(mode) and mode & 0o111
    assert layers.resolve("/bin/tool") == "/usr/bin/tool"


def test_what_a_dangling_link_leads_to_is_resolved(layers: Layers) -> None:
    assert layers.resolve("/etc/resolv.conf") == "/run/there/resolv.conf"
    assert layers.mode("/etc/resolv.conf") is None


def test_errors_are_the_kernels(layers: Layers) -> None:
    for path, name in (
        ("/nowhere", "ENOENT"),
        ("/etc/passwd/x", "ENOTDIR"),
        ("/etc/circle", "ELOOP"),
    ):
        with pytest.raises(KernelError) as raised:
            layers.open(path)
        assert name in str(raised.value)


def test_a_layer_that_cannot_be_looked_into_has_nothing(tmp_path: Path) -> None:
    assert Layers([str(tmp_path / "nowhere")]).mode("/etc/passwd") is None
