"""The doctor on machines that are not here: recorded ones, and ones made after them.

tests/fixtures/doctor has each machine as a file, whose first line says how it came to be.
"""

from __future__ import annotations

import json
import os
import re

import pytest

from minidock.cli.verbs.doctor import as_text
from minidock.engine.doctor.finding import OK, PROBLEM, UNKNOWN, WARNING
from minidock.engine.doctor.host import NEEDED
from minidock.engine.doctor.probes import PROBES
from minidock.engine.doctor.report import Report, examine
from minidock.kernel.capability import NAMES
from support.command import REPOSITORY
from support.doctor_machines import Recorded, every


def look(name: str, changes: dict[str, str | None] | None = None) -> Report:
    return examine(Recorded(name, changes))


def ill(report: Report) -> dict[str, str]:
    """What is not as it should be: check -> verdict."""
    return {f.check: f.verdict for f in report.findings if f.verdict != OK}


def fix_of(report: Report, check: str) -> str:
    return next(f.fix for f in report.findings if f.check == check and f.verdict != OK)


def seen(report: Report, check: str) -> str:
    return next(f.seen for f in report.findings if f.check == check)


# Machine -> what is found there, beside much that is well.
MACHINES: dict[str, dict[str, str]] = {
    "debian-13": {},
    "debian-13-user": {
        "privileges": PROBLEM, "namespaces": UNKNOWN, "system calls": UNKNOWN,
        "file systems": UNKNOWN, "sealed Python": UNKNOWN, "seccomp": UNKNOWN,
        "user namespaces": UNKNOWN,
        "writable": UNKNOWN, "overlay": UNKNOWN, "creation": UNKNOWN, "limits": UNKNOWN,
        "rules": UNKNOWN, "forwarding": UNKNOWN, "FORWARD": UNKNOWN,
    },
    "debian-13-ufw": {"ufw": WARNING},
    "debian-13-firewalld": {"FORWARD": WARNING, "firewalld": WARNING},
    "debian-13-legacy": {"iptables": WARNING},
    "debian-13-mixed": {"iptables": WARNING},
    "debian-13-vfat": {"overlay": PROBLEM, "space": WARNING},
    "debian-13-userns": {"user namespaces": WARNING},
    "hybrid": {},
    "docker-unprivileged": {
        "environment": WARNING, "privileges": PROBLEM, "namespaces": PROBLEM,
        "system calls": PROBLEM, "file systems": PROBLEM, "sealed Python": PROBLEM,
        "user namespaces": WARNING,
        "overlay": PROBLEM, "creation": PROBLEM, "rules": PROBLEM, "forwarding": PROBLEM,
        "FORWARD": UNKNOWN,
    },
    "docker-privileged": {"environment": WARNING, "overlay": PROBLEM},
    "ubuntu-24.04": {"user namespaces": WARNING, "ufw": WARNING},
    "fedora": {"FORWARD": WARNING, "firewalld": WARNING, "SELinux": WARNING},
    "wsl-2": {},
    "wsl-2-old": {"overlay": PROBLEM},
    "linux-5.10": {"system calls": PROBLEM, "sealed Python": PROBLEM, "overlay": PROBLEM},
}  # fmt: skip


def test_each_recorded_machine_is_looked_at() -> None:
    assert every() == sorted(MACHINES)


@pytest.mark.parametrize("name", MACHINES)
def test_what_is_found_on_a_machine(name: str) -> None:
    report = look(name)
    assert ill(report) == MACHINES[name], as_text(report)
    assert report.works == (PROBLEM not in MACHINES[name].values())


@pytest.mark.parametrize("name", MACHINES)
def test_whatever_is_wrong_has_a_fix_of_one_line(name: str) -> None:
    for finding in look(name).findings:
        assert "\n" not in finding.fix
        assert bool(finding.fix) == (finding.verdict in (WARNING, PROBLEM)), finding


@pytest.mark.parametrize("name", MACHINES)
def test_predictions_agree_with_the_verdicts(name: str) -> None:
    report = look(name)
    can = report.can
    if report.works:
        assert can["run"] and can["network"]
    else:
        assert can["network"] is False
    assert json.loads(json.dumps(report.document()))["can"] == can


@pytest.mark.parametrize("name", MACHINES)
def test_lines_fit_on_a_screen(name: str) -> None:
    long = [line for line in as_text(look(name)).splitlines() if len(line) > 100]
    assert all(" " not in line.strip().removeprefix("fix: ") for line in long), long


# --- one thing wrong at a time -------------------------------------------------------------------


def test_an_unknown_processor_ends_the_examination() -> None:
    report = look("debian-13", {"told architecture": "riscv64"})
    assert ill(report) == {"kernel": PROBLEM} and report.can["run"] is False
    assert {f.topic for f in report.findings} == {"Machine"}


def test_an_old_kernel_is_named_as_what_the_failures_have_in_common() -> None:
    report = look("linux-5.10")
    assert "5.11" in fix_of(report, "system calls")
    assert "5.12" in fix_of(report, "sealed Python")
    assert "6.7" in fix_of(report, "overlay")


def test_an_old_kernel_of_windows_is_updated_from_windows() -> None:
    assert "wsl --update" in fix_of(look("wsl-2-old"), "overlay")
    assert "WSL 2" in seen(look("wsl-2"), "environment")


def test_the_first_wsl_has_no_kernel() -> None:
    release = {"read /proc/sys/kernel/osrelease": "4.4.0-19041-Microsoft"}
    assert "wsl --set-version" in fix_of(look("debian-13", release), "environment")


def test_modules_that_went_with_an_upgrade_want_a_reboot() -> None:
    failing: dict[str, str | None] = {
        "tried overlay": "mount: fsopen(2) overlay: No such device (ENODEV)",
        "names /lib/modules": "6.12.200-amd64",
    }
    report = look("debian-13", failing)
    assert ill(report) == {"overlay": PROBLEM}
    assert fix_of(report, "overlay").startswith("reboot")
    failing["names /lib/modules"] = None
    assert "modprobe overlay" in fix_of(look("debian-13", failing), "overlay")


@pytest.mark.parametrize("fstype", ["nfs4", "vfat", "overlay", "9p"])
def test_a_store_on_a_file_system_without_overlay_support_gets_a_fix(fstype: str) -> None:
    there = f"27 1 0:9 / / rw - ext4 /dev/vda rw\n40 27 0:44 / /var/lib rw - {fstype} x rw"
    refused = "mount: fsconfig(2) overlay /merged: Invalid argument (EINVAL)"
    report = look("debian-13", {"read /proc/self/mountinfo": there, "tried overlay": refused})
    assert ill(report) == {"overlay": PROBLEM} and report.can["run"] is False
    assert fstype in seen(report, "overlay") and "MINIDOCK_ROOT" in fix_of(report, "overlay")
    user = {"read /proc/self/mountinfo": there, "tried overlay": None}
    assert ill(look("debian-13-user", user))["overlay"] == PROBLEM  # known without trying


@pytest.mark.parametrize("there", [True, False])
def test_a_store_in_a_ramfs_works_but_for_what_takes_attributes(there: bool) -> None:
    nearest = "/var/lib/minidock" if there else "/var/lib"
    ramfs: dict[str, str | None] = {
        "read /proc/self/mountinfo": f"27 1 0:9 / {nearest} rw - ramfs none rw",
        "told store": f"/var/lib/minidock\n{nearest}",
        "told space": "0\n0\n0\n0",
        "tried overlay": "mount\nwrite\nwhiteout\nopaque: /merged/old: Input/output error",
    }
    report = look("debian-13", ramfs)
    assert ill(report) == {"overlay": WARNING} and report.works
    assert fix_of(report, "overlay").startswith("mkdir -p") is not there


def test_a_store_of_another_format_is_not_ours() -> None:
    report = look("debian-13", {"read /var/lib/minidock/version": "9"})
    assert ill(report) == {"format": PROBLEM}


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("10000000 9000000000 900000 1000000", {"space": PROBLEM}),
        ("500000000 9000000000 900000 1000000", {"space": WARNING}),
        ("8000000000 9000000000 100 1000000", {"inodes": PROBLEM}),
        ("8000000000 9000000000 10000 1000000", {"inodes": WARNING}),
        ("8000000000 9000000000 0 0", {}),
    ],
)
def test_a_full_disk_is_said_before_it_is_met(space: str, expected: dict[str, str]) -> None:
    assert ill(look("debian-13", {"told space": space.replace(" ", "\n")})) == expected


@pytest.mark.parametrize("missing", NEEDED)
def test_root_without_a_needed_capability_is_not_enough(missing: str) -> None:
    mask = 0x1FFFFFFFFFF & ~(1 << NAMES.index(missing))
    report = look("debian-13", {"read /proc/self/status": f"CapEff:\t{mask:016x}"})
    assert ill(report) == {"privileges": PROBLEM} and report.can["run"] is False
    assert seen(report, "privileges") == f"root without {missing}"


def test_what_lacking_rights_keep_from_working_is_not_blamed_on_a_security_module() -> None:
    refused = "mount: unshare(2) mount: Operation not permitted (EPERM)"
    for mask, fix in (("0000000000000000", "first give"), ("000001ffffffffff", "check dmesg")):
        changes = {"read /proc/self/status": f"CapEff:\t{mask}", "tried namespaces": refused}
        assert fix_of(look("debian-13", changes), "namespaces").startswith(fix)


@pytest.mark.parametrize(
    ("changes", "expected", "fix"),
    [
        ({"told python": "3.9.2"}, {"python": PROBLEM}, "Python 3.11"),
        (
            {"read /proc/self/limits": "Max open files            256      4096      files"},
            {"open files": WARNING},
            "ulimit -Sn 1024",
        ),
        (
            {"read /proc/self/status": "CapEff:\t000001ffffffdfff"},
            {"privileges": WARNING},  # without CAP_NET_RAW runs work, and pings do not
            "--privileged",
        ),
    ],
)
def test_the_process_itself_may_be_in_the_way(
    changes: dict[str, str | None], expected: dict[str, str], fix: str
) -> None:
    report = look("debian-13", changes)
    assert ill(report) == expected
    assert fix in fix_of(report, next(iter(expected)))


@pytest.mark.parametrize(
    ("hard", "mask", "fix"),
    [
        ("4096", "000001fffeffffff", "ulimit -Sn 1024"),
        ("unlimited", "000001fffeffffff", "ulimit -Sn 1024"),
        ("20", "000001ffffffffff", "ulimit -n 1024"),
        ("20", "000001fffeffffff", "raise nofile"),  # without CAP_SYS_RESOURCE
    ],
)
def test_open_files_are_raised_as_far_as_one_may(hard: str, mask: str, fix: str) -> None:
    changes: dict[str, str | None] = {
        "read /proc/self/limits": f"Max open files            12      {hard}      files",
        "read /proc/self/status": f"CapEff:\t{mask}",
    }
    report = look("debian-13", changes)
    assert ill(report) == {"open files": PROBLEM} and not report.works
    assert fix_of(report, "open files").startswith(fix)
    assert "may fail here: 1 problem" in as_text(report)


# --- cgroups -------------------------------------------------------------------------------------

WITHOUT_CGROUPS = "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw"


def test_no_cgroups_at_all() -> None:
    changes = {"read /proc/self/mountinfo": WITHOUT_CGROUPS}
    report = look("hybrid", changes)
    assert ill(report) == {"version": PROBLEM}
    assert fix_of(report, "version").startswith("mount -t cgroup2")


def test_versions_of_cgroups_are_distinguished() -> None:
    assert seen(look("debian-13"), "version") == "cgroup v2, managed by systemd"
    assert "hybrid" in seen(look("hybrid"), "version")
    mounted = WITHOUT_CGROUPS + "\n32 27 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu"
    report = look("hybrid", {"read /proc/self/mountinfo": mounted})
    assert seen(report, "version") == "cgroup v1"


def test_processes_that_block_controllers_get_a_fix() -> None:
    """As in a privileged container with a cgroup namespace: its root has processes."""
    said = "create: write(2) '+cpu' to /sys/fs/cgroup/cgroup.subtree_control: "
    report = look("debian-13", {"tried limits": said + "Device or resource busy (EBUSY)"})
    assert ill(report) == {"creation": PROBLEM}
    assert "cgroup.procs" in fix_of(report, "creation")


def test_a_limit_that_cannot_be_set_is_a_warning_and_predicted() -> None:
    answer = Recorded("debian-13").try_out("limits")
    lines = [f"{part}: {why}" if why else part for part, why in answer.items() if part != "swap"]
    refused = "swap: write(2) '1' to memory.memsw: No such file or directory (ENOENT)"
    report = look("debian-13", {"tried limits": "\n".join([*lines, refused])})
    assert ill(report) == {"limits": WARNING}
    assert report.can["swap"] is False and report.can["memory"] is True and report.works
    assert fix_of(report, "limits") == "boot with swapaccount=1"


def test_a_controller_that_was_switched_off_at_boot() -> None:
    """As on a Raspberry Pi, whose firmware says cgroup_disable=memory."""
    offered = {"read /sys/fs/cgroup/cgroup.controllers": "cpuset cpu io pids"}
    report = look("debian-13", offered)
    assert ill(report) == {"controllers": WARNING}
    assert "cgroup_enable=memory" in fix_of(report, "controllers")


# --- the network ---------------------------------------------------------------------------------


def test_without_iptables_only_containers_without_a_network_run() -> None:
    changes = {"run 0 iptables -V": None, "run 0 iptables-save -t filter": None}
    report = look("debian-13", changes)
    assert ill(report)["iptables"] == PROBLEM
    assert report.can["run"] and report.can["network"] is False and not report.works
    assert "--network none" in as_text(report).splitlines()[-1]


def test_rules_in_the_other_kind_of_tables_are_warned_of() -> None:
    legacy: dict[str, str | None] = {
        "read /proc/net/ip_tables_names": "filter",
        "run 0 iptables-legacy-save": "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j X\nCOMMIT",
    }
    report = look("debian-13", legacy)
    assert ill(report) == {"iptables": WARNING}
    assert "2 rules or" in seen(report, "iptables") and report.can["out"] is None
    legacy["run 0 iptables-legacy-save"] = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT"
    assert ill(look("debian-13", legacy)) == {}


@pytest.mark.parametrize(
    ("rules", "stops"),
    [
        (":INPUT DROP [0:0]\n-A INPUT -i lo -j ACCEPT", "INPUT"),
        (":INPUT DROP [0:0]\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT", ""),
        (
            ":INPUT DROP [0:0]\n-A INPUT -p tcp -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "INPUT",
        ),
        (":INPUT ACCEPT [0:0]\n-A INPUT ! -i lo -j REJECT --reject-with tcp-reset", "INPUT"),
        (":OUTPUT DROP [0:0]\n-A OUTPUT -o minidock+ -j ACCEPT", "OUTPUT"),  # and DNAT on lo
        (
            ":OUTPUT DROP [0:0]\n:X - [0:0]\n-A OUTPUT -o minidock0 -j ACCEPT\n-A OUTPUT -j X\n"
            "-A X -m conntrack --ctstate ESTABLISHED,DNAT -j ACCEPT",
            "",
        ),
        (":OUTPUT ACCEPT [0:0]\n-A OUTPUT -d 10.0.0.0/8 -j DROP\n-A OUTPUT -j LOG", ""),
    ],
)
@pytest.mark.parametrize("kind", ["legacy", "nft"])
def test_what_legacy_tables_of_iptables_stop(rules: str, stops: str, kind: str) -> None:
    saved = f"# by\n*mangle\n:INPUT ACCEPT [0:0]\nCOMMIT\n*filter\n{rules}\nCOMMIT"
    tool = "iptables-legacy"
    changes: dict[str, str | None] = {"read /proc/net/ip_tables_names": "mangle\nfilter"}
    if kind == "legacy":
        tool = "iptables"
        changes["run 0 iptables -V"] = "iptables v1.8.11 (legacy)"
        changes["run 0 iptables-save -t filter"] = saved
    else:
        changes["run 0 iptables-legacy-save"] = saved
    report = look("debian-13", changes)
    found = {check: verdict for check, verdict in ill(report).items() if check != "iptables"}
    assert found == ({stops: WARNING} if stops else {})
    if stops:
        assert fix_of(report, stops).startswith(f"{tool} -I {stops} ")


def test_missing_modules_of_iptables() -> None:
    said = "namespace\nbridge\nveth\nrules: iptables-restore failed: RULE_INSERT failed"
    report = look("debian-13", {"tried firewall": said})
    assert ill(report) == {"rules": PROBLEM}
    assert "iptables-legacy" in fix_of(report, "rules")


def test_forwarding_that_is_off_is_no_problem_unless_it_cannot_be_switched_on() -> None:
    off: dict[str, str | None] = {"read /proc/sys/net/ipv4/ip_forward": "0"}
    assert ill(look("debian-13", off)) == {}
    off["tried forwarding"] = "ip_forward: /proc/sys/net/ipv4/ip_forward: Read-only file system"
    report = look("debian-13", off)
    assert ill(report) == {"forwarding": PROBLEM} and report.can["network"] is False


ACCEPTING = "type filter hook forward priority filter; policy accept;"
DROPPING = "type filter hook forward priority filter; policy drop;"
CALLS = 'iifname "minidock0" accept'
ANSWERS = 'oifname "minidock0" ct state established,related accept'
PUBLISHED = 'oifname "minidock0" ct status dnat accept'


@pytest.mark.parametrize(
    ("rules", "missing"),
    [
        ([ACCEPTING], []),
        ([ACCEPTING, "ct state invalid drop", 'iifname "wlan0" oifname "eth0" drop'], []),
        ([ACCEPTING, 'iifname "docker0" reject with icmpx admin-prohibited'], [ANSWERS, PUBLISHED]),
        ([ACCEPTING, "reject with icmpx admin-prohibited"], [CALLS, ANSWERS, PUBLISHED]),
        ([ACCEPTING, "ip saddr @banned drop"], [CALLS, ANSWERS, PUBLISHED]),
        ([DROPPING], [CALLS, ANSWERS, PUBLISHED]),
        ([DROPPING, CALLS], [ANSWERS, PUBLISHED]),  # what no answer comes to is of no use
        ([DROPPING, CALLS, "ct state { established, related } accept"], [PUBLISHED]),
        ([DROPPING, PUBLISHED, ANSWERS, CALLS], []),
        ([DROPPING, "tcp dport 22 accept"], [CALLS, ANSWERS, PUBLISHED]),
        ([DROPPING, 'iifname { "docker*", "minidock*" } counter packets 1 bytes 84 accept',
          "ct state vmap { established : accept, related : accept,", "invalid : drop }"],
         [PUBLISHED]),
        ([DROPPING, "jump ours", "}", "chain ours {", CALLS, ANSWERS, PUBLISHED], []),
        ([DROPPING, "jump ours", "}", "chain ours {", "return", CALLS],
         [CALLS, ANSWERS, PUBLISHED]),
        ([ACCEPTING, "goto ours", "drop", "}", "chain ours {"], []),
    ],
)  # fmt: skip
@pytest.mark.parametrize("table", ["inet filter", "ip mine"])
def test_what_nftables_lets_through(rules: list[str], missing: list[str], table: str) -> None:
    body = "\n".join(f"\t\t{line}" if line != "}" else "\t}" for line in rules)
    text = f"table {table} {{ # flags\n\tchain forward {{\n{body}\n\t}}\n}}"
    report = look("debian-13", {"run 0 nft list ruleset": text})
    assert ill(report) == ({"FORWARD": WARNING} if missing else {})
    if missing:
        wanted = [rule.replace('"', "") for rule in missing]
        lines = [f"nft insert rule {table} forward {rule}" for rule in wanted]
        assert fix_of(report, "FORWARD") == "; ".join(lines) and report.can["out"] is None


NETWORKS = "/var/lib/minidock/networks"
A_NETWORK: dict[str, str | None] = {
    f"names {NETWORKS}": "bridge.json inner.json mine.json torn.json",
    f"read {NETWORKS}/bridge.json": '{"Subnet": "172.18.0.0/16", "Device": "minidock0"}',
    f"read {NETWORKS}/mine.json": '{"Subnet": "172.20.0.0/16", "Device": "br-1"}',
    f"read {NETWORKS}/inner.json": '{"Subnet":"172.21.0.0/16", "Device":"br-2", "Internal":true}',
    f"read {NETWORKS}/torn.json": '{"Subn',
    "told addresses": "eth0 10.0.2.15/24\nminidock0 172.18.0.1/16\nbr-1 172.20.0.1/16\n"
    "br-2 172.21.0.1/16",
    "told routes": "10.0.2.0/24\n172.18.0.0/16\n172.20.0.0/16\n172.21.0.0/16",
}  # fmt: skip


def test_the_bridges_of_users_networks_are_let_through_too() -> None:
    text = (
        f"table inet a {{\n\tchain forward {{\n{DROPPING}\n{CALLS}\n{ANSWERS}\n{PUBLISHED}\n}}\n}}"
    )
    assert ill(look("debian-13", {"run 0 nft list ruleset": text})) == {}
    report = look("debian-13", {**A_NETWORK, "run 0 nft list ruleset": text})
    assert ill(report) == {"FORWARD": WARNING}
    fixes = fix_of(report, "FORWARD").split("; ")
    assert fixes[0] == "nft insert rule inet a forward iifname br-1 accept" and len(fixes) == 3


def test_a_users_network_whose_subnet_a_vpn_took_later() -> None:
    assert ill(look("debian-13", A_NETWORK)) == {}
    attached = f"{A_NETWORK['told addresses']}\ntun0 172.20.4.1/24"
    report = look("debian-13", {**A_NETWORK, "told addresses": attached})
    assert ill(report) == {"user networks": WARNING}
    assert "network mine, 172.20.0.0/16, overlaps 172.20.4.0/24" in seen(report, "user networks")
    down = attached.replace("br-1 172.20.0.1/16\n", "").replace("tun0 172.20.4.1/24", "")
    changes = {**A_NETWORK, "told addresses": down.strip(), "told routes": "172.20.4.0/24"}
    assert ill(look("debian-13", changes)) == {"user networks": WARNING}


def test_chains_of_devices_that_are_not_evaluated_are_named() -> None:
    def of(line: str, rule: str) -> dict[str, str | None]:
        return {
            "run 0 nft list ruleset": f"table netdev a {{\n\tchain c {{\n{line}\n{rule}\n}}\n}}"
        }

    base = 'type filter hook ingress device "eth0" priority filter; policy accept;'
    assert ill(look("debian-13", of(base, "meta l4proto icmp accept"))) == {}
    report = look("debian-13", of(base, "ip saddr 192.0.2.0/24 drop"))
    assert ill(report) == {"device chains": UNKNOWN}
    assert "not evaluated" in seen(report, "device chains") and report.can["out"] is None
    assert seen(report, "device chains").endswith("netdev a c (eth0)")
    both = 'type filter hook ingress devices = { "eth0", "minidock0" } priority -500; policy drop;'
    report = look("debian-13", of(both, ""))
    assert ill(report) == {"device chains": WARNING}
    assert fix_of(report, "device chains") == "nft insert rule netdev a c iifname minidock0 accept"


@pytest.mark.parametrize(
    ("asked", "routes", "verdict"),
    [
        ("10.99.0.0/24", "", OK),
        ("10.99.0.0/24", "10.99.0.0/16", WARNING),  # a VPN's route: what is behind it is cut off
        ("10.0.2.0/24", "", PROBLEM),  # the machine's own network
        ("10.0.2.5/24", "", PROBLEM),
        ("house", "", PROBLEM),
        ("", "10.8.0.0/24", OK),
        ("", "172.16.0.0/12", OK),  # another is taken
        ("", "172.16.0.0/12\n192.168.0.0/16", PROBLEM),
        ("", "0.0.0.0/1\n128.0.0.0/1", OK),  # a VPN's default route in disguise
    ],
)
def test_subnets_are_held_against_routes(asked: str, routes: str, verdict: str) -> None:
    changes: dict[str, str | None] = {
        "told subnet": asked,
        "told routes": f"10.0.2.0/24\n{routes}".strip(),
        "told addresses": "lo 127.0.0.1/8\neth0 10.0.2.15/24",
    }
    report = look("debian-13", changes)
    assert ill(report) == ({} if verdict == OK else {"subnet": verdict})
    assert (report.can["network"] is False) == (verdict == PROBLEM)


def test_the_subnet_that_will_be_taken_is_named() -> None:
    assert seen(look("debian-13"), "subnet") == "172.18.0.0/16 will be used"
    report = look("debian-13", {"told routes": "172.18.0.0/15\n172.17.0.0/16"})
    said = "172.20.0.0/16 will be used (2 earlier candidates overlap routes or addresses)"
    assert seen(report, "subnet") == said


def test_a_network_whose_subnet_a_vpn_took_later() -> None:
    changes: dict[str, str | None] = {
        "read /var/lib/minidock/networks/bridge.json": '{"Subnet": "172.18.0.0/16"}',
        "told routes": "172.18.4.0/24",
    }
    assert ill(look("debian-13", changes)) == {"subnet": WARNING}
    changes["told addresses"] = "minidock0 172.18.0.1/16"  # a route of our own bridge
    assert ill(look("debian-13", changes)) == {}


def test_a_bridge_is_ours_by_its_alias() -> None:
    there: dict[str, str | None] = {"names /sys/class/net/minidock0": "ifalias ifindex"}
    report = look("debian-13", there)
    assert ill(report) == {"bridge": PROBLEM} and "MINIDOCK_BRIDGE" in fix_of(report, "bridge")
    there["names /sys/class/net/minidock0/bridge"] = "bridge_id"
    assert ill(look("debian-13", there)) == {}  # left by a run that did not get any further
    there["told addresses"] = "minidock0 10.1.1.1/24"
    assert ill(look("debian-13", there)) == {"bridge": PROBLEM}
    there["read /sys/class/net/minidock0/ifalias"] = "minidock /var/lib/minidock"
    assert ill(look("debian-13", there)) == {}


def test_taken_ports_are_listed_and_popular_ones_warned_of() -> None:
    listening = "  sl  local_address\n   0: 0100007F:1F90 00000000:0000 0A\n   1: 0:0035 0:0 01"
    report = look("debian-13", {"read /proc/net/tcp": listening, "read /proc/net/tcp6": None})
    assert ill(report) == {"ports": WARNING}
    assert seen(report, "ports") == "in use: 8080"


# --- surroundings --------------------------------------------------------------------------------


def test_ubuntu_has_three_habits() -> None:
    report = look("ubuntu-24.04")
    assert report.works and report.can["userns"] and report.can["unprivileged userns"] is False
    assert "apparmor_restrict_unprivileged_userns=0" in fix_of(report, "user namespaces")
    assert "127.0.0.1" in fix_of(report, "ufw")
    assert "minidock's rules accept packets before" in seen(report, "FORWARD")


@pytest.mark.parametrize(
    "setting", ["user/max_user_namespaces", "kernel/unprivileged_userns_clone"]
)
def test_user_namespaces_that_a_setting_forbids(setting: str) -> None:
    changes = {
        f"read /proc/sys/{setting}": "0",
        "tried userns": "root\nuser: unshare(2) user: Operation not permitted (EPERM)",
    }
    report = look("debian-13", changes)
    assert ill(report) == {"user namespaces": WARNING} and report.works
    assert setting.replace("/", ".") in fix_of(report, "user namespaces")


def test_other_engines_are_named() -> None:
    report = look("debian-13", {"told daemons": "containerd\ndockerd\nlibvirtd"})
    assert ill(report) == {}
    assert seen(report, "engines").startswith("running: containerd, Docker, libvirt;")


def test_a_shell_that_apparmor_confines() -> None:
    changes: dict[str, str | None] = {
        "read /sys/module/apparmor/parameters/enabled": "Y",
        "read /proc/self/attr/current": "docker-default (enforce)",
    }
    assert ill(look("debian-13", changes)) == {"AppArmor": WARNING}


def test_firewalld_that_trusts_the_bridge_is_no_trouble() -> None:
    report = look("fedora")
    assert "--zone=trusted" in fix_of(report, "firewalld") and report.can["out"] is None
    trusting = {"run 0 firewall-cmd --get-zone-of-interface=minidock0": "trusted"}
    assert ill(look("fedora", trusting)) == {"SELinux": WARNING}


# --- the page about it ---------------------------------------------------------------------------

PAGE = REPOSITORY / "docs/doctor.md"
DOCTOR = REPOSITORY / "src/minidock/engine/doctor"
SHOWN = re.compile(r"<!-- machine: (\S+?)(, all)? -->\n(.*?)<!-- end -->", re.DOTALL)


def test_the_page_shows_what_is_said() -> None:
    """MINIDOCK_WRITE_DOCS=1 rewrites it."""
    text = PAGE.read_text()
    wanted = SHOWN.sub(_shown, text)
    if os.environ.get("MINIDOCK_WRITE_DOCS"):
        PAGE.write_text(wanted)
        text = wanted
    assert text == wanted
    assert len(SHOWN.findall(text)) >= 5


def _column(number: int, *, probes: bool) -> list[str]:
    """A column of the page's table of probes, or of its table of what is looked at."""
    rows = re.findall(r"^\| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    width = 3 if probes else 2
    head = ["probe"] if probes else ["line of the report"]
    table = cells[next(n for n, row in enumerate(cells) if row[:1] == head) + 1 :]
    of_it = []
    for row in table:
        if len(row) != width:
            break
        of_it.append(row[number])
    return of_it


def test_the_page_names_every_probe() -> None:
    assert [name.strip("`") for name in _column(0, probes=True)] == [*PROBES]


def test_the_page_names_every_line_of_the_report() -> None:
    listed = ", ".join([*_column(1, probes=True), *_column(0, probes=False)]).split(", ")
    source = "".join(path.read_text() for path in DOCTOR.glob("*.py"))
    literal = re.findall(r'(?:Finding\(\s*TOPIC,|check =) "([^"]+)"', source)
    said = {f.check for name in MACHINES for f in look(name).findings}
    assert sorted(listed) == sorted(said | set(literal))


def _shown(found: re.Match[str]) -> str:
    name, everything, _ = found.groups()
    report = look(name)
    if not everything:
        report = Report([f for f in report.findings if f.verdict != OK])
    head = f"<!-- machine: {name}{everything or ''} -->"
    return f"{head}\n```text\n{as_text(report)}\n```\n<!-- end -->"
