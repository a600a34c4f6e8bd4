"""Where minidock is installed below /usr or /opt, a submission sees all of it but the labs."""

from __future__ import annotations

import os
import stat

import pytest

from minidock.teach.lab import sandbox_tree
from minidock.teach.lab.sandbox import Sandbox
from minidock.teach.lab.submission_files import Files

pytestmark = pytest.mark.root

INSTALLED = "/usr/share/common-licenses"  # any directory there with files in it


def seen(command: str) -> set[str]:
    """What a submission finds there by a shell command."""
    files = Files()
    files.put("box", f"#!/bin/sh\n{command}\n".encode(), stat.S_IFREG | 0o755)
    with Sandbox(files) as sandbox:
        return set(sandbox.run().output.split())


def test_labs_are_covered_and_stay_so(monkeypatch: pytest.MonkeyPatch) -> None:
    there = set(os.listdir(INSTALLED))
    assert seen(f"ls -A {INSTALLED}") == there
    monkeypatch.setattr(sandbox_tree, "labs_folder", lambda: INSTALLED)
    assert seen(f"ls -A {INSTALLED}") == set()
    assert seen(f"umount {INSTALLED}; umount -l {INSTALLED}; ls -A {INSTALLED}") == set()
    assert (
        seen(f"mount -t tmpfs x /mnt && unshare -m umount {INSTALLED}; ls -A {INSTALLED}") == set()
    )
    assert "share" in seen("ls /usr")
