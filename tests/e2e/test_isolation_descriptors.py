"""What a container could reach through an open file of ours, or of the host's."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import attack
from support.command import Minidock, Result

pytestmark = pytest.mark.root

LIST = """
import os
for name in range(100):
    try:
        print(name, os.readlink(f"/proc/self/fd/{name}"))
    except FileNotFoundError:
        pass
"""


@pytest.fixture
def attacker(minidock: Minidock, store: Store) -> str:
    """An image whose containers have the host's Python; see attack.python_flags."""
    return attack.Rootfs().host_python().into(minidock, "attacker")


@pytest.fixture
def null_device() -> Iterator[int]:
    """The mode of the host's /dev/null, put right again afterwards."""
    mode = stat.S_IMODE(os.stat("/dev/null").st_mode)
    yield mode
    os.chmod("/dev/null", mode)


def _descriptors(text: str) -> dict[int, str]:
    return {int(line.split()[0]): line.split(" ", 1)[1] for line in text.splitlines()}


@pytest.mark.parametrize("flags", [(), ("-i",)])
def test_command_has_three_descriptors_and_none_of_the_host(
    minidock: Minidock, attacker: str, flags: tuple[str, ...]
) -> None:
    line = ["run", "--rm", *flags, "-p", "127.0.0.1:0:80", *attack.python_flags(), attacker]
    found = _descriptors(minidock.ok(*line, *attack.python_command(LIST), stdin=b""))
    assert set(found) == {0, 1, 2}
    assert found[0] == "/dev/null" if not flags else found[0].startswith("pipe:")
    assert found[1].startswith("pipe:") and found[2].startswith("pipe:")


def test_exec_d_process_has_three_descriptors_and_none_of_the_host(
    minidock: Minidock, attacker: str
) -> None:
    line = ["run", "-d", "--name", "box", "-p", "127.0.0.1:0:80", *attack.python_flags(), attacker]
    minidock.ok(*line, *attack.python_command("import time; time.sleep(60)"))
    found = _descriptors(minidock.ok("exec", "box", *attack.python_command(LIST)))
    assert set(found) == {0, 1, 2}
    assert found[0] == "/dev/null" and found[1].startswith("pipe:")
    minidock.ok("rm", "-f", "box")


def test_null_device_on_stdin_is_the_container_s_own(
    minidock: Minidock, busybox_image: str, null_device: int
) -> None:
    """Else the container's root could take the host's /dev/null away from the host's users."""
    minidock.ok("run", "--rm", busybox_image, "chmod", "600", "/proc/self/fd/0")
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == null_device
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "60")
    minidock.ok("exec", "box", "chmod", "600", "/proc/self/fd/0")
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == null_device
    minidock.ok("rm", "-f", "box")


@pytest.mark.alone  # others put the mode right
def test_null_device_of_the_host_could_be_changed_without_that(
    minidock: Minidock, busybox_image: str, null_device: int
) -> None:
    unguarded = "from minidock.kernel import process; process.reopen_null = lambda: None"
    run = ("run", "--rm", busybox_image, "chmod", "600", "/proc/self/fd/0")
    assert attack.without(minidock, unguarded, *run).code == 0
    assert stat.S_IMODE(os.stat("/dev/null").st_mode) == 0o600


@pytest.mark.parametrize(
    "trap",
    ["mkfifo /dev/null", "ln -s /etc/passwd /dev/null", "cat /dev/zero | head -c 9 > /dev/null"],
)
def test_exec_refuses_a_false_null_device(
    minidock: Minidock, busybox_image: str, trap: str
) -> None:
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sleep", "60")
    minidock.ok("exec", "-i", "box", "sh", "-c", f"rm /dev/null; {trap}")
    refused = minidock("exec", "box", "true", timeout_seconds=10)
    assert refused.code == 126 and "/dev/null" in refused.stderr
    minidock.ok("exec", "-i", "box", "true")
    minidock.ok("rm", "-f", "box")


LEFT_OPEN = """
import os, fcntl
fcntl.fcntl(os.open("/", os.O_PATH | os.O_DIRECTORY), fcntl.F_DUPFD, 40)
"""
NOT_CLOSING = "from minidock.kernel import process; process.close_all_but = lambda kept: None\n"
NOT_LOOKING = """
import os, minidock.runtime.init as i, minidock.runtime.process_config as p
p.enter_directory = os.chdir
i.make_mount_point = lambda *a, **k: None
"""


@pytest.mark.parametrize("place", ["-w", "image", "exec"])
def test_working_directory_that_is_a_directory_of_the_host_is_refused(
    minidock: Minidock, store: Store, place: str
) -> None:
    """CVE-2024-21626: a directory of the host, left open, would let the container escape."""
    way_out = "/proc/self/fd/40"
    look = ("sh", "-c", "cat ./../.." + store.root + "/version")
    changes = [f"WORKDIR {way_out}"] if place == "image" else []
    attack.Rootfs().busybox().into(minidock, "i", *changes)
    flags = ["-w", way_out] if place == "-w" else []
    line = ["run", "--rm", *flags, "i", *look]

    def enter(guard: str) -> Result:
        if place != "exec":
            return attack.without(minidock, LEFT_OPEN + guard, *line)
        attack.without(
            minidock, LEFT_OPEN + guard, "run", "-d", "--name", "box", "i", "sleep", "60"
        )
        seen = minidock("exec", "-w", way_out, "box", *look)
        minidock.ok("rm", "-f", "box")
        return seen

    for guards in ("", NOT_CLOSING, NOT_LOOKING) if place == "-w" else ("",):  # one is enough
        refused = enter(guards)
        assert refused.code != 0 and refused.stdout == "", str(refused)
    assert enter(NOT_CLOSING + NOT_LOOKING).stdout == Path(store.version).read_text()


def test_init_has_no_directory_of_the_host_open_when_it_goes_to_its_working_directory(
    minidock: Minidock, store: Store
) -> None:
    attack.Rootfs().busybox().into(minidock, "i")
    told = """
import os, minidock.runtime.process_config as p
def enter(path):
    numbers = [n for n in range(1000) if os.path.lexists(f"/proc/self/fd/{n}")]
    names = [os.readlink(f"/proc/self/fd/{n}") for n in numbers]
    raise OSError("open: " + " ".join(names))
p.enter_directory = enter
"""
    seen = attack.without(minidock, told, "run", "--rm", "i", "true").stderr
    names = seen.partition("open: ")[2].split()
    assert "/dev/null" in names, seen
    reachable = [n for n in names if n.startswith("/") and n not in ("/dev/null", "/proc/self/fd")]
    assert [n for n in reachable if os.path.isdir(n)] == []
