"""The flags of run and create, whole: -p, -v, --mount, -u, sizes, durations, signals, lists."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random

sys.path.append(str(Path(__file__).parent.parent / "unit"))

from test_cli_create_body import minidock_body

from minidock.cli.flags.since_until import parse_timestamp
from minidock.comma_separated import read_record
from minidock.engine.container.own_layer import size_of
from minidock.engine.dockerfile.duration import parse_go_duration
from minidock.engine.monitor.json_file_log import limits_of
from minidock.errors import MinidockError
from minidock.signals import signal_number
from support.fuzz import ODD, fuzz, made, odd_text

_VALUES = {
    "-p": ["80", "8080:80", "127.0.0.1:80:80/udp", "[::1]:1-3:1-3", "80-90", "0-65535:0-65535"],
    "-v": ["/a:/b", "a:/b:ro", ".:/x", "a:/b:ro,z", "/b", "a:b:c:d", "..:/v"],
    "--mount": ["type=bind,src=/a,dst=/b", 'type=tmpfs,"dst=/x"', "dst=/x\n", "tmpfs-mode=1777",
                "type=volume,dst=/v,volume-opt=a=b", "tmpfs-size=1g"],
    "-u": ["0", "1:2", "root", "65536:65536"], "-m": ["10m", "1.5g"],
    "--cpus": ["1.5", "1/3", "1e9"],
    "--cpuset-cpus": ["0-3", "0,1", "0-99999999999"], "--ulimit": ["nofile=1:2", "core=-1"],
    "--stop-signal": ["TERM", "RTMIN+3", "15"], "--health-interval": ["1h30m", "1.5s", "300ms"],
    "--restart": ["on-failure:3", "always"], "--device": ["/dev/null:/x:rwm"], "-e": ["A=b", "A"],
    "--device-cgroup-rule": ["c 1:3 rwm", "a *:* r"], "--add-host": ["a:1.2.3.4"],
    "--ip": ["1.2.3.4"],
    "--mac-address": ["02:42:ac:11:00:02"], "--dns": ["1.1.1.1"], "--expose": ["80-90/tcp"],
    "--blkio-weight-device": ["/dev/null:100"], "--device-read-bps": ["/dev/null:1mb"],
    "--sysctl": ["net.ipv4.ip_forward=1"], "--tmpfs": ["/x:size=1m,mode=1777"], "--label": ["a=b"],
    "--log-opt": ["max-size=10m", "max-file=3"], "--network": ["name=a,alias=b", "none"],
    "--gpus": ["all"], "--shm-size": ["64m"], "--storage-opt": ["size=10g"], "--pids-limit": ["10"],
    "--security-opt": ["no-new-privileges", "seccomp=unconfined"], "--oom-score-adj": ["5"],
    "--memory-swap": ["-1", "1g"], "--group-add": ["audio"], "--name": ["x"], "-w": ["/x"],
    "--cpu-shares": ["0x10", "010"], "--kernel-memory": ["1m"], "--link": ["a:b"],
}  # fmt: skip


def _line(chosen: Random) -> list[str]:
    """A command line with one to three flags, each almost right."""
    words = []
    for _ in range(chosen.randint(1, 3)):
        flag = chosen.choice(list(_VALUES))
        text = list(chosen.choice(_VALUES[flag]))
        for _ in range(chosen.randrange(4)):
            at = chosen.randint(0, len(text))
            text[at : at + chosen.randrange(3)] = [chosen.choice(ODD)]
        words += [flag, "".join(text)]
    return [*words, "image", "command"]


def test_flags() -> None:
    def act(words: list[str]) -> None:
        host = minidock_body(words)["HostConfig"]
        limits_of(host)
        size_of(host)

    known = [
        [flag, text, "image"]
        for flag in _VALUES
        for text in ("\u0660", "9" * 5000, "\n", "1_0", "1e99999999", "0-99999999999", "\udc80", "")
    ]
    fuzz(act, made(_line), refuses=MinidockError, known=known)


def test_values() -> None:
    def act(text: str) -> None:
        for read in (parse_timestamp, signal_number, parse_go_duration, read_record):
            try:
                read(text)
            except (ValueError, MinidockError):
                pass

    words = [
        "1h",
        "2m",
        "3s",
        "4ms",
        "5us",
        "6ns",
        "2024-05-06",
        "T07:08:09Z",
        "SIG",
        "TERM",
        "k",
        "g",
    ]
    fuzz(act, odd_text(*words), refuses=(), known=["9" * 100_000, "1" * 100_000 + "x", ".h", "-"])
