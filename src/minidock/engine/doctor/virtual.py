"""Whether this is a virtual machine, for a check before risky operations.

CPUID has a bit that every hypervisor sets on x86. On arm64, firmware data is used: the
device tree, or the names in DMI. A container counts as virtual if its host does.

Sources: CPUID leaf 1, ECX bit 31; systemd-detect-virt(1) for the names; devicetree
Documentation "hypervisor"; xen's /proc/xen/capabilities.
"""

from __future__ import annotations

from minidock.engine.doctor.machine import Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.paths import Store

_DMI = ("sys_vendor", "product_name", "board_vendor", "bios_vendor")
_VENDORS = (
    "QEMU", "KVM", "VMware", "VirtualBox", "innotek", "Xen", "Bochs", "Parallels", "BHYVE",
    "Google Compute Engine", "OpenStack", "Amazon EC2", "KubeVirt", "Apple Virtualization",
    "Virtual Machine", "Firecracker",
)  # fmt: skip


def is_virtual_machine(store: Store) -> bool:
    """Whether this machine reports that it is virtual."""
    return bool(evidence_of_virtual_machine(Machine(store).read))


def evidence_of_virtual_machine(read: Callable[[str], str | None]) -> str:
    """Return the file and the word in it that show a virtual machine; "" for a physical one.

    read: returns a file's text, None if missing (Machine.read).
    """
    if "control_d" in (read("/proc/xen/capabilities") or ""):
        return ""  # Xen's dom0 runs on the hypervisor of a physical machine
    lines = (read("/proc/cpuinfo") or "").splitlines()
    if flags := [line for line in lines if line.startswith("flags")]:
        # CPUID decides on x86, even if the names suggest a VM (EC2's bare metal).
        return "/proc/cpuinfo: hypervisor" if " hypervisor" in " ".join(flags) else ""
    return _evidence_in_firmware(read)


def _evidence_in_firmware(read: Callable[[str], str | None]) -> str:
    """Return the file of the device tree or of DMI, and the word in it, that show a VM."""
    if kind := (read("/proc/device-tree/hypervisor/compatible") or "").strip("\0"):
        return f"/proc/device-tree/hypervisor/compatible: {kind}"
    if "linux,dummy-virt" in (read("/proc/device-tree/compatible") or ""):
        return "/proc/device-tree/compatible: linux,dummy-virt"
    for name in _DMI:
        path = f"/sys/class/dmi/id/{name}"
        text = read(path) or ""
        if any(vendor in text for vendor in _VENDORS):
            return f"{path}: {text}"
    return ""
