"""From what was asked and what the image says to one container."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.container import bundle
from minidock.engine.container.bundle import environment, security_options
from minidock.engine.container.create import merge_config, merge_environment
from minidock.engine.container.user import resolve_user
from minidock.engine.container.validation import check_destination, check_name, warnings_of
from minidock.engine.monitor.detach_keys import parse_detach_keys
from minidock.errors import UsageError
from minidock.signals import signal_number

IMAGE = {"Cmd": ["image-cmd"], "Entrypoint": ["image-entry"], "Env": ["A=1", "B=2"]}


@pytest.mark.parametrize(
    ("asked", "entrypoint", "command"),
    [
        ({}, ["image-entry"], ["image-cmd"]),
        ({"Cmd": ["c"]}, ["image-entry"], ["c"]),
        ({"Entrypoint": ["e"]}, ["e"], None),
        ({"Entrypoint": ["e"], "Cmd": ["c"]}, ["e"], ["c"]),
        ({"Entrypoint": [""], "Cmd": ["c"]}, None, ["c"]),
    ],
)
def test_entrypoint_and_command(asked: dict[str, Any], entrypoint: Any, command: Any) -> None:
    merged = merge_config({"Image": "x", **asked}, IMAGE)
    assert (merged["Entrypoint"], merged["Cmd"]) == (entrypoint, command)


def test_device_that_is_unplugged_while_they_are_listed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "goes").touch()
    (tmp_path / "stays").touch()
    lstat = os.lstat

    def after_a_removal(path: str) -> os.stat_result:
        (tmp_path / "goes").unlink(missing_ok=True)
        return lstat(path)

    monkeypatch.setattr(os, "lstat", after_a_removal)
    host = {"Devices": [{"PathOnHost": str(tmp_path), "PathInContainer": "/dev/some"}]}
    assert bundle._devices(host)[0] == []


def test_asked_variables_win() -> None:
    asked = ["B=8", "C", "D=4", "B=9"]
    assert merge_environment(["A=1", "B=2", "C=3"], asked) == ["B=9", "C", "D=4", "A=1"]


def test_the_environment_has_dockers_own_variables_and_a_bare_name_unsets() -> None:
    document = {"Config": {"Hostname": "h", "Tty": True, "Env": ["PATH=/x", "A", "B=", "TERM"]}}
    assert environment(document, "/root") == ["PATH=/x", "HOSTNAME=h", "B=", "HOME=/root"]


@pytest.mark.parametrize("name", ["a", "-ab", "a/b", "a\nb", "../x", "a b", "ä1", "x" * 300])
def test_names_that_docker_refuses(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("target", ["relative", "/", "/..", "/x/..", "/a\0b"])
def test_mount_points_that_cannot_be(target: str) -> None:
    with pytest.raises(UsageError):
        check_destination(target)


@pytest.mark.parametrize(
    ("text", "number"),
    [("SIGTERM", 15), ("term", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("usr1", 10)],
)
def test_signals_by_name_and_number(text: str, number: int) -> None:
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "0", "99", "SIG_DFL", "_signal", "RTMIN+99"])
def test_what_is_no_signal(text: str) -> None:
    with pytest.raises(UsageError):
        signal_number(text)


def test_detach_keys() -> None:
    assert parse_detach_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_detach_keys("a,ctrl-[") == b"a\x1b"
    with pytest.raises(UsageError, match="ctrl-1"):
        parse_detach_keys("ctrl-1")


def test_security_options() -> None:
    assert security_options({"SecurityOpt": ["no-new-privileges"]})["no_new_privileges"]
    assert security_options({"SecurityOpt": ["no-new-privileges:true"]})["no_new_privileges"]
    assert security_options({"SecurityOpt": ["seccomp=unconfined"]})["seccomp"] == "unconfined"
    assert security_options({"SecurityOpt": ['seccomp={"a":"b=c"}']})["seccomp"] == '{"a":"b=c"}'
    with pytest.raises(UsageError, match="label=type:x"):
        security_options({"SecurityOpt": ["label=type:x"]})


@pytest.fixture
def rootfs(tmp_path: Any) -> str:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nbroken line\nwww:x:33:34:web:/srv:/bin/sh\n42:x:7:7::/n:\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nwww:x:34:\nstaff:x:50:www,x\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("text", "uid", "gid", "additional", "home"),
    [
        ("", 0, 0, [0], "/root"),
        ("www", 33, 34, [34, 50], "/srv"),
        ("33", 33, 34, [34, 50], "/srv"),
        ("1234", 1234, 0, [0], "/"),
        ("1234:5", 1234, 5, [5], "/"),
        ("www:staff", 33, 50, [50], "/srv"),
        ("42", 42, 0, [0], "/"),
    ],
)
def test_users(rootfs: str, text: str, uid: int, gid: int, additional: Any, home: str) -> None:
    user, found_home = resolve_user(rootfs, text, [])
    assert user == {"uid": uid, "gid": gid, "additionalGids": additional}
    assert found_home == home


@pytest.mark.parametrize("text", ["nobody-here", "www:nogroup", "4294967296"])
def test_users_that_are_not_there(rootfs: str, text: str) -> None:
    with pytest.raises(UsageError):
        resolve_user(rootfs, text, [])


@pytest.mark.timeout(10)
def test_a_fifo_for_a_passwd_file_keeps_nobody_waiting(rootfs: str) -> None:
    os.unlink(f"{rootfs}/etc/passwd")
    os.mkfifo(f"{rootfs}/etc/passwd")
    assert resolve_user(rootfs, "7", [])[0]["uid"] == 7


def test_a_passwd_link_stays_in_the_image(rootfs: str) -> None:
    os.unlink(f"{rootfs}/etc/passwd")
    os.symlink("/etc/passwd", f"{rootfs}/etc/passwd.own")
    os.symlink("/../../../../etc/shadow", f"{rootfs}/etc/passwd")
    with pytest.raises(UsageError, match="daemon"):
        resolve_user(rootfs, "daemon", [])


def test_ports_of_the_hosts_network_are_warned_of_as_by_docker() -> None:
    ports = {"80/tcp": [{"HostPort": "8080"}]}
    warning = "Published ports are discarded when using host network mode"
    assert warnings_of({"HostConfig": {"NetworkMode": "host", "PortBindings": ports}}) == [warning]
    assert warnings_of({"HostConfig": {"NetworkMode": "host", "PublishAllPorts": True}}) == []
    assert warnings_of({"HostConfig": {"NetworkMode": "default", "PortBindings": ports}}) == []
