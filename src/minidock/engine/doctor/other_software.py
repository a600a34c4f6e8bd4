"""Other software: container engines, host firewalls, security modules.

minidock works together with all of them; each has an effect worth knowing.
Sources: ufw-framework(8), firewalld's "Zones", apparmor(7), selinux(8), Docker's "Packet filtering
and firewalls".
"""

from __future__ import annotations

from minidock.engine.doctor.finding import OK, WARNING, Finding
from minidock.engine.doctor.firewalls import firewalld_trusts, trust_command
from minidock.engine.doctor.machine import Machine

TOPIC = "Other software"

# A daemon's name -> its product. (podman has none; conmon monitors its containers.)
_ENGINES = {
    "dockerd": "Docker",
    "containerd": "containerd",
    "conmon": "Podman",
    "podman": "Podman",
    "crio": "CRI-O",
    "kubelet": "Kubernetes",
    "k3s-server": "k3s",
    "libvirtd": "libvirt",
    "virtnetworkd": "libvirt",
}


def findings(machine: Machine) -> list[Finding]:
    """Check which other software is running."""
    found = [_engines(machine), _ufw(machine), _firewalld(machine)]
    return [*found, _apparmor(machine), _selinux(machine)]


def _engines(machine: Machine) -> Finding:
    running = [_ENGINES[name] for name in machine.tell("daemons") if name in _ENGINES]
    if not running:
        return Finding(TOPIC, "engines", OK, "no other engine is running")
    names = ", ".join(dict.fromkeys(running))
    seen = f"running: {names}; its containers and minidock's reach each other by published ports"
    return Finding(TOPIC, "engines", OK, seen)


def _ufw(machine: Machine) -> Finding:
    enabled = "ENABLED=yes" in (machine.read("/etc/ufw/ufw.conf") or "")
    if not enabled:
        return Finding(TOPIC, "ufw", OK, "not active")
    seen = "active: does not filter published ports (as with Docker), may block packets to the host"
    fix = "publish on loopback only: -p 127.0.0.1:8080:80"
    return Finding(TOPIC, "ufw", WARNING, seen, fix)


def _firewalld(machine: Machine) -> Finding:
    if "firewalld" not in machine.tell("daemons"):
        return Finding(TOPIC, "firewalld", OK, "not active")
    bridge = machine.tell("bridge")[0]
    if firewalld_trusts(machine, bridge):
        return Finding(TOPIC, "firewalld", OK, f"active; {bridge} is in the zone trusted")
    fix = trust_command(bridge)
    seen = (
        f"active: rejects packets that {bridge} forwards, unless the bridge is in the zone trusted"
    )
    return Finding(TOPIC, "firewalld", WARNING, seen, fix, {"out": None, "publish": None})


def _apparmor(machine: Machine) -> Finding:
    if machine.read("/sys/module/apparmor/parameters/enabled") != "Y":
        return Finding(TOPIC, "AppArmor", OK, "off")
    own = machine.read("/proc/self/attr/current") or "unconfined"
    if not own.startswith("unconfined"):
        seen = f"this process is confined by {own}, and so are containers"
        fix = "use an unconfined shell; in Docker: --security-opt apparmor=unconfined"
        return Finding(TOPIC, "AppArmor", WARNING, seen, fix)
    seen = "on; minidock's containers run unconfined (Docker's have the profile docker-default)"
    return Finding(TOPIC, "AppArmor", OK, seen)


def _selinux(machine: Machine) -> Finding:
    enforce = machine.read("/sys/fs/selinux/enforce")
    if enforce is None:
        return Finding(TOPIC, "SELinux", OK, "off")
    if enforce == "0":
        return Finding(TOPIC, "SELinux", OK, "permissive")
    seen = "enforcing; minidock sets no labels, so SELinux may deny a container valid accesses"
    return Finding(TOPIC, "SELinux", WARNING, seen, "ausearch -m avc -ts recent; setenforce 0")
