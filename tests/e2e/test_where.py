"""where and layers: each command that they print works, and shows what it was printed for.

What it must show is asked of the kernel by other ways than minidock's: lsns, ip -j, /proc.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from minidock.paths import Store
from support.command import Minidock, Result
from support.lsns import namespaces_of
from support.patience import patience

pytestmark = pytest.mark.root

DOCKERFILE = """FROM busybox
RUN echo one > /etc/one && mkdir /srv && echo two > /srv/two
RUN rm /etc/one && echo three >> /etc/passwd && rm -r /srv && mkdir /srv
"""
SCRIPT = "echo ready; echo x >> /etc/group; rm /etc/shadow; echo n > /n; exec httpd -f"


class Box:
    """A container that has everything, from an image of three layers."""

    def __init__(self, minidock: Minidock, context: Path) -> None:
        self.minidock = minidock
        (context / "Dockerfile").write_text(DOCKERFILE)
        minidock.ok("build", "-q", "-t", "three", str(context))
        volume = ("--tmpfs", "/fast", "-v", "data:/da ta", "-v", f"{context}:/code:ro")
        self.id = minidock.ok(
            "run", "-d", "--name", "box", "-p", "127.0.0.1:0:80", *volume,
            "three", "sh", "-c", SCRIPT,
        )  # fmt: skip
        while "ready" not in minidock.ok("logs", "box") or not self.sh("test -e /n"):
            pass
        self.pid = int(minidock.ok("inspect", "-f", "{{.State.Pid}}", "box"))

    def sh(self, command: str) -> bool:
        return self.minidock("exec", "box", "sh", "-c", command).code == 0

    def parts(self, of: str = "box") -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = json.loads(self.minidock.ok("where", "--json", of))["parts"]
        return parts

    def where(self, path: str, name: str = "box") -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.minidock.ok("where", "--json", f"{name}:{path}"))
        return told


@pytest.fixture
def box(
    minidock: Minidock, busybox_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Box]:
    yield Box(minidock, tmp_path_factory.mktemp("context"))


def output(command: str) -> str:
    """What a command prints, which must succeed."""
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def shown(parts: list[dict[str, Any]], name: str, **more: object) -> str:
    """What the commands of the parts with a name print."""
    found = [p for p in parts if p["name"] == name and more.items() <= p.items()]
    assert found, name
    return "".join(output(part["command"]) for part in found)


def typed(text: str) -> tuple[list[str], list[str]]:
    """The variables that a page gives, and the commands behind its "$"."""
    variables = re.findall(r"^    (\w+=\S+)$", text, re.M)
    return variables, re.findall(r"^ +\$ (.*)$", text, re.M)


def test_every_part_of_a_container_is_where_it_is_said_to_be(box: Box, store: Store) -> None:
    parts = box.parts()
    for part in parts:
        assert output(part["command"]), part
    _files_are_there(box, parts)
    _kernel_has_them(box, parts, store)
    _text_can_be_typed(box)
    _image_and_volume(box)
    box.minidock.ok("stop", "-t", "0", "box")
    stopped = box.parts()
    assert not [part for part in stopped if part["section"].startswith("In the kernel")]
    for part in stopped:
        assert output(part["command"]), part


def _files_are_there(box: Box, parts: list[dict[str, Any]]) -> None:
    assert box.id in shown(parts, "document")
    assert '"ociVersion"' in shown(parts, "bundle")
    assert "pivot_root" in shown(parts, "journal")
    assert "ready" in shown(parts, "log")
    assert str(box.pid) in shown(parts, "state")
    upper = shown(parts, "upper")
    assert "/upper/n\n" in upper
    assert re.search(r"^\s*\d+\s+\d+ c.* 0, +0 .*/upper/etc/shadow$", upper, re.M)
    assert "overlay" in shown(parts, "merged")
    assert {"shadow", "passwd"} <= set(os.listdir(f"{_place(parts, 'layer 1')}/etc"))
    assert os.listdir(f"{_place(parts, 'layer 2')}/srv") == ["two"]
    third = next(part for part in parts if part["name"] == "layer 3")
    told = {name: third[name] for name in ("files", "directories", "changed", "deleted", "opaque")}
    assert told == {"files": 0, "directories": 0, "changed": 1, "deleted": 1, "opaque": 1}
    lowers = [part["place"] for part in parts if re.fullmatch(r"layer \d", part["name"])]
    mounted = output(f"grep -F {_place(parts, 'merged')} /proc/self/mountinfo")
    assert re.findall(r"lowerdir\+=([^,]*)", mounted) == lowers  # the kernel has them in this order


def _kernel_has_them(box: Box, parts: list[dict[str, Any]], store: Store) -> None:
    told = {p["name"][3:]: p["inode"] for p in parts if p["name"].startswith("ns ")}
    assert told == {kind: each["ns"] for kind, each in namespaces_of(box.pid).items()}
    for kind, inode in told.items():
        assert shown(parts, f"ns {kind}").strip() == f"{kind}:[{inode}]"
    cgroups = [part for part in parts if part["name"] == "cgroup"]
    assert cgroups
    for part in cgroups:
        assert str(box.pid) in output(part["command"]).split()
        assert os.path.basename(part["place"]) in Path(f"/proc/{box.pid}/cgroup").read_text()
    (inside,) = json.loads(output(f"nsenter -t {box.pid} -n ip -j address show dev eth0"))
    address = inside["addr_info"][0]["local"]
    assert address in shown(parts, "eth0")
    (cable,) = [link for link in json.loads(output("ip -j link")) if
                link["ifindex"] == inside["link_index"]]  # fmt: skip
    assert cable["master"] == store.bridge
    assert cable["ifname"] in shown(parts, cable["ifname"])
    assert store.bridge in shown(parts, store.bridge)
    port = box.minidock.ok("port", "box").rpartition(":")[2]
    assert f":{port}" in shown(parts, f"port {port}/tcp")
    rules = shown(parts, "rules, nat")
    assert f"--dport {port}" in rules and f"{address}:80" in rules
    assert f"-i {store.bridge} -j ACCEPT" in shown(parts, "rules, filter")
    assert r"/da\040ta" in shown(parts, "mount /da ta")
    assert " - tmpfs " in shown(parts, "mount /fast")
    assert f"NSpid:\t{box.pid}\t1\n" in shown(parts, "init")


def test_its_network_is_what_the_kernel_has_and_not_what_was_made(box: Box, store: Store) -> None:
    """Once somebody has pulled the cable, changed addresses, and taken a device away."""
    cable = next(p["name"] for p in box.parts() if p["name"].startswith("veth"))
    gateway = json.loads(output(f"ip -j -4 address show dev {store.bridge}"))[0]["addr_info"][0]
    inside = f"nsenter -t {box.pid} -n ip"
    output(f"ip link set {cable} nomaster; {inside} address flush dev eth0; echo")
    output(f"{inside} link set eth0 down; echo")
    output(f"ip address del {gateway['local']}/{gateway['prefixlen']} dev {store.bridge}; echo")
    told = {part["name"]: part["what"] for part in box.parts()}
    assert told[cable].endswith("attached to no bridge")
    assert told["eth0"] == "no address: its end of the veth pair, which is down"
    assert told[store.bridge] == f"the bridge, without the gateway's address {gateway['local']}"
    port = next(name for name in told if name.startswith("port "))
    assert told[port].startswith("held on the host by the monitor")
    output(f"{inside} address add 10.1.2.3/24 dev eth0; ip link set {cable} up; echo")
    output(f"ip link set {cable} master {store.bridge}; echo")
    told = {part["name"]: part["what"] for part in box.parts()}
    assert told["eth0"].startswith("10.1.2.3: ")
    assert told[cable].endswith(f"attached to {store.bridge}")
    output(f"ip link delete {cable}; echo")
    assert not {cable, "eth0"} & {part["name"] for part in box.parts()}


def _image_and_volume(box: Box) -> None:
    image, volume = box.parts("three"), box.parts("data")
    for part in [*image, *volume]:
        assert output(part["command"]), part
    inspected = json.loads(box.minidock.ok("image", "inspect", "three"))[0]
    assert shown(image, "config").split()[0] == inspected["Id"].removeprefix("sha256:")
    assert box.id in shown(image, "containers")
    assert r"/da\040ta" in shown(volume, "box")


def _place(parts: list[dict[str, Any]], name: str) -> str:
    return str(next(part["place"] for part in parts if part["name"] == name))


def _text_can_be_typed(box: Box) -> None:
    """The page for people: its variables first, then each line behind a "$"."""
    text = box.minidock.ok("where", "box")
    variables, commands = typed(text)
    assert len(commands) == len(box.parts())
    for command in commands:
        assert output("\n".join([*variables, command])), command


def test_a_file_tells_its_layer_and_what_became_of_it(box: Box) -> None:
    told = {path: box.where(path) for path in ("/etc/passwd", "/etc/group", "/etc/shadow", "/n")}
    assert {path: each["event"] for path, each in told.items()} == {
        "/etc/passwd": "image", "/etc/group": "copied up", "/etc/shadow": "deleted", "/n": "added",
    }  # fmt: skip
    versions = {
        path: [(v["layer"], v["role"]) for v in each["versions"]] for path, each in told.items()
    }
    assert versions == {
        "/etc/passwd": [(3, "seen"), (1, "hidden")],
        "/etc/group": [(4, "seen"), (1, "hidden")],
        "/etc/shadow": [(4, "whiteout"), (1, "hidden")],
        "/n": [(4, "seen")],
    }
    for each in told.values():
        for version in each["versions"]:
            assert version["place"] in output(version["command"])
    assert box.where("/srv/two", "three")["event"] == "absent"
    assert box.where("/srv", "three")["versions"][0]["kind"] == "opaque directory"
    assert box.where("/etc/one")["event"] == "deleted"
    text = box.minidock.ok("where", "box:/etc/group")
    assert "copied up from layer 1" in text
    variables, commands = typed(text)
    assert len(commands) == 2 and all(output("\n".join([*variables, c])) for c in commands)
    assert all(len(line) <= 100 for line in text.splitlines() if "$ " not in line)
    mounted = box.where("/da ta/x")
    assert mounted["event"] == "mounted"
    assert mounted["source"] == f"{box.minidock.root}/volumes/data/_data/x"
    assert output(box.where("/proc/1/status")["command"])
    _layers(box)
    _watch(box)


def _layers(box: Box) -> None:
    top, three, two, one = json.loads(box.minidock.ok("layers", "--json", "box"))
    upper = Path(top["place"])
    assert {"/n", "/etc/group", "/etc/shadow"} <= {change["path"] for change in top["changes"]}
    assert (upper / "n").is_file() and (upper / "etc/shadow").is_char_device()
    assert {(c["kind"], c["path"]) for c in three["changes"]} == {
        ("D", "/etc/one"), ("C", "/etc/passwd"), ("O", "/srv/"),
    }  # fmt: skip
    assert {c["path"] for c in two["changes"]} == {"/etc/one", "/srv/", "/srv/two"}
    assert (two["images"], one["images"]) == (1, 2)  # busybox and three
    text = box.minidock.ok("layers", "--files", "three")
    assert re.search(r"^layer 3 +\d+B +1 +1 +1 +1   RUN .*rm /etc/one", text, re.M)
    assert "\n    D /etc/one\n" in text


def _watch(box: Box) -> None:
    """The live view tells what is done, and ends when the container is removed."""
    watch = box.minidock.start("layers", "--watch", "--json", "box")
    assert watch.stdout is not None
    assert json.loads(watch.stdout.readline())["watching"].endswith("/upper")
    assert box.sh("rm /etc/passwd")
    told = json.loads(watch.stdout.readline())
    assert (told["event"], told["path"]) == ("deleted", "/etc/passwd")
    box.minidock.ok("rm", "-f", "box")
    rest = watch.communicate(timeout=patience(20))
    assert (watch.returncode, rest) == (0, (b"", b""))


def test_a_layer_in_a_file_of_its_own_is_shown_mounted_or_not(
    minidock: Minidock, busybox_image: str
) -> None:
    if not Path("/dev/loop-control").exists():
        pytest.skip("this kernel has no loop devices")
    command = ("sh", "-c", "echo on; echo x >> /etc/group; exec sleep 600")
    minidock.ok("run", "-d", "--name", "small", "--storage-opt", "size=8m", busybox_image, *command)
    deadline = time.monotonic() + patience(10)
    for runs in (True, False):
        if not runs:
            minidock.ok("stop", "-t", "0", "small")
        while (told := _told(minidock, "small:/etc/group"))["event"] != "copied up":
            assert time.monotonic() < deadline
        words = "/upper/etc/group" if runs else "Inode:"
        while words not in output(told["versions"][0]["command"]):
            assert time.monotonic() < deadline, "another mount namespace has the file system still"
        parts = json.loads(minidock.ok("where", "--json", "small"))["parts"]
        for part in parts:
            assert output(part["command"]), part
        assert "etc" in shown(parts, "upper")
        assert "disk" in shown(parts, "disk")
    assert minidock("layers", "--watch", "small").code == 1


def _told(minidock: Minidock, path: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(minidock.ok("where", "--json", path))
    return told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "No such container, image or volume: nobody"),
        (["nobody:/etc"], "No such container or image: nobody"),
        (["nobody:etc/x"], "No such container, image or volume: nobody:etc/x"),
        (["busybox:/nothing/at/all"], "/nothing does not exist"),
        (["busybox:/etc/nothing"], "no layer of busybox has /etc/nothing"),
        (["busybox:/etc/passwd/x"], "/etc/passwd is not a directory, so x cannot be in it"),
        (["--type", "nonsense", "busybox"], '"nonsense" is not a valid value for --type'),
        (["--type", "volume", "busybox:/etc"], "a volume has no layers"),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(
    minidock: Minidock, busybox_image: str, arguments: list[str], message: str
) -> None:
    result: Result = minidock("where", *arguments)
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"minidock: {message}\n"), result.stderr
    if "etc/x" in message:
        assert "must begin with a slash: minidock where nobody:/etc/x" in result.stderr
