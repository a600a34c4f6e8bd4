"""Links in an image or a volume never lead a mount, a node or a file of ours to the host.

Whatever an image holds at the place where something is to be mounted, made or written, the place
that is taken lies inside the container. The guard is openat2(RESOLVE_IN_ROOT); where it is replaced
by a plain open, the same links lead out.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from minidock.engine.container.lookup import find
from minidock.paths import Store
from support import attack
from support.command import Minidock, Result
from support.machine import mounts
from support.patience import patience

pytestmark = pytest.mark.root

UNRESOLVED = """
import os
from minidock.errors import KernelError
from minidock.kernel import mount, node, path as paths
def open_plainly(root, path, flags=os.O_PATH, mode=0):
    try:
        return os.open(root.rstrip("/") + path, flags | os.O_CLOEXEC, mode)
    except OSError as error:
        raise KernelError("open(2)", path, error.errno) from None
paths.open_in_root = node.open_in_root = mount.open_in_root = open_plainly
from minidock.engine.container import mounts, user
mounts.open_in_root = user.open_in_root = open_plainly
"""
LINKS = {
    "absolute": "{outside}",
    "climbing": "../../../../../../../../../../../../../../..{outside}",
    "proc": "/proc/self/root{outside}",
    "chain": "../link-1",
    "dangling": "{outside}-gone/deeper",
    "loop": "loop",
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory of the host that no container was given."""
    folder = tmp_path / "outside"
    (folder / "etc").mkdir(parents=True)
    (folder / "secret").write_text("host")
    return folder


def _image(minidock: Minidock, outside: Path, **links: str) -> str:
    rootfs = attack.Rootfs().busybox()
    rootfs.link("link-1", "/link-2").link("link-2", f"../..{outside}")
    for place, link in links.items():
        rootfs.link(f"a/{place}", link.format(outside=outside))
    return rootfs.into(minidock, "trap")


def _seen_from_outside(outside: Path) -> list[str]:
    """What of a container has come to the host's directory: mounts on it, files in it."""
    found = [m for m in mounts() if m.startswith(str(outside))]
    found += [str(p) for p in outside.parent.glob("*-gone")]
    found += [str(p) for p in outside.rglob("*") if p.name not in ("secret", "etc")]
    if (outside / "secret").read_text() != "host":
        found.append("secret changed")
    return found


SOURCES = {
    "volume": ("-v", "{source}:/a/PLACE"),
    "read-only volume": ("-v", "{source}:/a/PLACE:ro"),
    "named volume": ("-v", "shelf:/a/PLACE"),
    "tmpfs": ("--tmpfs", "/a/PLACE:size=64k"),
    "file": ("-v", "{source}/file:/a/PLACE"),
    "mount": ("--mount", "type=bind,source={source},target=/a/PLACE"),
    "below": ("-v", "{source}:/a/PLACE/deeper/still"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SOURCES)
def test_mount_target_that_is_a_link_stays_inside(
    minidock: Minidock, store: Store, outside: Path, tmp_path: Path, kind: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("given")
    image = _image(minidock, outside, **LINKS)

    def mounted_at(*names: str) -> Result:
        flag, value = SOURCES[kind]
        given = [value.format(source=source).replace("PLACE", name) for name in names]
        flags = [word for text in given for word in (flag, text)]
        look = f"ls {outside} {outside}-gone /a/*/; cat {outside}/secret"
        seen = minidock("run", "--rm", "--network", "none", *flags, image, "sh", "-c", look)
        assert "secret\n" not in seen.stdout and "host" not in seen.stdout, str(seen)
        assert _seen_from_outside(outside) == [], str(seen)
        return seen

    seen = mounted_at("absolute", "climbing", "chain", "dangling")
    assert not seen.stderr.startswith("minidock: "), str(seen)
    if kind == "volume":
        for name in ("proc", "loop"):
            refused = mounted_at(name)
            assert refused.code == 125 and refused.stderr.startswith("minidock: "), str(refused)


@pytest.mark.parametrize("guarded", [True, False], ids=["in the root", "plainly"])
def test_link_at_a_volume_s_place_fills_it_with_the_host_s_files_only_if_followed_plainly(
    minidock: Minidock, store: Store, outside: Path, guarded: bool
) -> None:
    image = _image(minidock, outside, place=LINKS["absolute"])
    line = ["--rm", "--network", "none", "-v", "shelf:/a/place", image, "true"]
    attack.without(minidock, "" if guarded else UNRESOLVED, "run", *line)
    assert Path(store.volume("shelf"), "_data/secret").exists() is not guarded


@pytest.mark.parametrize("name", ["etc", "etc/hosts", "etc/hostname", "etc/resolv.conf"])
def test_files_of_ours_in_etc_stay_inside(
    minidock: Minidock, store: Store, outside: Path, name: str
) -> None:
    """A dangling /etc/resolv.conf is what every Ubuntu image has."""
    for target in (f"{outside}/{name}", f"../../../../..{outside}/{name}", "/nowhere/yet"):
        rootfs = attack.Rootfs().busybox(etc=name != "etc").link(name, target)
        image = rootfs.into(minidock, "trap")
        look = "cat /etc/hostname; grep -c localhost /etc/hosts; ls -l /etc/resolv.conf"
        seen = minidock("run", "--rm", "-h", "boxname", image, "sh", "-c", look)
        assert seen.code == 0 and seen.stdout.startswith("boxname\n"), str(seen)
        assert _seen_from_outside(outside) == []


def test_device_target_that_is_a_link_stays_inside(
    minidock: Minidock, store: Store, outside: Path
) -> None:
    image = _image(minidock, outside, place="{outside}")
    for target in ("/a/place/node", "/a/place", "/dev/../a/place/node2"):
        minidock("run", "--rm", "--device", f"/dev/zero:{target}", image, "true")
        assert _seen_from_outside(outside) == []


def test_link_in_a_volume_does_not_lead_the_next_mount_out(
    minidock: Minidock, store: Store, outside: Path, tmp_path: Path
) -> None:
    """-v vol:/a -v /x:/a/b, where an earlier container left vol/b as a link."""
    image = attack.Rootfs().busybox().into(minidock, "plain")
    volume, source = tmp_path / "volume", tmp_path / "source"
    volume.mkdir()
    source.mkdir()
    for number, target in enumerate(
        (str(outside), f"../../../../../..{outside}", "/", "/proc", ".")
    ):
        os.symlink(target, volume / f"b{number}")
        binds = ("-v", f"{volume}:/a", "-v", f"{source}:/a/b{number}")
        look = "ls -d /bin/sh /proc/self /a; cat /proc/1/comm"
        seen = minidock("run", "--rm", "--network", "none", *binds, image, "sh", "-c", look)
        inside = seen.code == 0 and "/bin/sh" in seen.stdout and "/proc/self" in seen.stdout
        assert inside or (seen.stdout == "" and seen.stderr.startswith("minidock: ")), str(seen)
        assert _seen_from_outside(outside) == []


def test_link_swapped_while_mounts_are_made_never_leads_out(
    minidock: Minidock, store: Store, outside: Path, tmp_path: Path
) -> None:
    image = attack.Rootfs().busybox().into(minidock, "plain")
    volume, source = tmp_path / "volume", tmp_path / "source"
    (volume / "real").mkdir(parents=True)
    source.mkdir()
    os.symlink(outside, volume / "link")
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for name in ("real", "link"):
                try:
                    os.rename(volume / name, volume / "b")
                    os.rename(volume / "b", volume / name)
                except OSError:
                    pass  # it is mounted on just now

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(4):
            binds = ("-v", f"{volume}:/a", "-v", f"{source}:/a/b/deeper")
            seen = minidock("run", "--rm", "--network", "none", *binds, image, "ls", "/a/b")
            assert "secret" not in seen.stdout, str(seen)
    finally:
        over.set()
        thread.join()
    assert _seen_from_outside(outside) == []


@pytest.mark.parametrize(
    "target", ["/proc", "/proc/sys", "/proc/self/attr", "/proc/1", "/data", "/data/kernel"]
)
def test_nothing_is_mounted_over_proc(
    minidock: Minidock, store: Store, tmp_path: Path, target: str
) -> None:
    """Else what we write to /proc, and what protects it, would go to an image's own files."""
    image = attack.Rootfs().busybox().link("data", "/proc/sys").into(minidock, "trap")
    refused = minidock("run", "--rm", "-v", f"{tmp_path}:{target}", image, "true")
    assert refused.code == 125 and "/proc" in refused.stderr, str(refused)
    assert "Traceback" not in refused.stderr


def test_files_of_proc_that_tell_of_limits_may_be_covered(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """As lxcfs does, and Docker allows."""
    (tmp_path / "cpuinfo").write_text("one small processor\n")
    flag = ("-v", f"{tmp_path}/cpuinfo:/proc/cpuinfo:ro")
    assert "small" in minidock.ok("run", "--rm", *flag, busybox_image, "cat", "/proc/cpuinfo")


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_image_whose_proc_or_sys_is_a_link_is_refused(
    minidock: Minidock, store: Store, name: str
) -> None:
    """CVE-2019-19921: masks would be put on another tree than the one that is used."""
    rootfs = attack.Rootfs().busybox(**{name: False}).directory("elsewhere").link(name, "elsewhere")
    refused = minidock("run", "--rm", rootfs.into(minidock, "trap"), "true")
    assert refused.code == 125 and f"/{name}" in refused.stderr, str(refused)


def test_masks_are_not_made_of_what_the_image_calls_dev_null(
    minidock: Minidock, store: Store, tmp_path: Path
) -> None:
    """CVE-2025-31133: /dev/null as a link to a file of /proc would open that file, writable."""
    (tmp_path / "dev").mkdir()
    os.symlink("/proc/sys/kernel/core_pattern", tmp_path / "dev/null")
    image = attack.Rootfs().busybox().into(minidock, "plain")
    line = ("run", "--rm", "-i", "-v", f"{tmp_path}/dev:/dev", image, "cat", "/proc/timer_list")
    refused = minidock(*line, stdin="")
    assert refused.code != 0 and refused.stdout == "" and "/dev/null" in refused.stderr, str(
        refused
    )


def test_host_s_passwd_is_not_read_for_a_user_through_a_link(
    minidock: Minidock, store: Store, outside: Path
) -> None:
    (outside / "passwd").write_text("root:x:0:0::/:/bin/sh\nghost:x:77:77::/:/bin/sh\n")
    image = attack.Rootfs().busybox().link("etc/passwd", f"{outside}/passwd").into(minidock, "trap")
    line = ["run", "--rm", "--network", "none", "-u", "ghost", image, "id", "-u"]
    unknown = minidock(*line)
    assert unknown.code == 125 and "unable to find user ghost" in unknown.stderr, str(unknown)
    assert attack.without(minidock, UNRESOLVED, *line).stdout == "77\n"


def test_exec_opens_no_fifo_and_no_device_that_a_container_calls_its_passwd(
    minidock: Minidock, busybox_image: str, store: Store
) -> None:
    """Opened by us on the host, a device would be opened past the container's device rules."""
    trap = "rm /etc/passwd; mkfifo /etc/passwd; (echo x > /etc/passwd; echo opened) & sleep 60"
    minidock.ok("run", "-d", "--name", "box", busybox_image, "sh", "-c", trap)
    path = Path(find(store, "box").paths.merged) / "etc/passwd"
    deadline = time.monotonic() + patience(10)
    while not path.is_fifo():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    minidock("exec", "-u", "7", "box", "true", timeout_seconds=10)
    minidock("exec", "-u", "nobody", "box", "true", timeout_seconds=10)
    assert minidock.ok("logs", "box") == ""
    minidock.ok("rm", "-f", "box")
