"""A disposable machine: QEMU, started with a disk of vagrant/image, for one job.

    job = Machine(image).run(source_tar, out=print_line, seconds=1200)

The image is not written to. The machine has a network of QEMU's own, which reaches the internet if
this machine does and makes no rule here. The protocol with the other side is in
vagrant/image/rootfs/usr/local/lib/minidock-vm/job.

**KVM** is used where it works: /dev/kvm may be there and open, and still run no kernel (a container
host's guest, a nested machine without VMX). So it is tried: the image's kernel is started without a
disk, and must come as far as the panic about that. Everything else is emulation (TCG), 6 to 10
times slower.

Not here: what the job is (run.py); how the image is made (vagrant/image/build).
Sources: qemu-system(1); QEMU's docs/system/invocation, "-accel tcg,thread=multi".
"""

from __future__ import annotations

import os
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

KERNEL_WORDS = (
    "root=/dev/vda rw quiet panic=-1 mitigations=off net.ifnames=0 systemd.show_status=false "
    "minidock.job module_blacklist=kvm_amd,kvm_intel,aesni_intel,ghash_clmulni_intel,sha512_ssse3,"
    "sha256_ssse3,sha1_ssse3,crct10dif_pclmul,vmw_vsock_vmci_transport"
)
RESULT_BYTES = 256 << 20
PROBE_SECONDS = 20


@dataclass(frozen=True)
class Architecture:
    """What QEMU calls a machine of one architecture, and the processor that it emulates.

    Neither is one of the newest. amd64's "max" took a quarter more CPU time than Nehalem for the
    same boot and work (84 s, 67 s; 75 s without page tables of five levels; one run of each). What
    arm64's newest sign their pointers with takes an emulator long; this one has
    atomic instructions, and runs 32-bit programs.
    """

    program: str
    machine: str
    processor: str
    console: str
    native: str


ARCHITECTURES = {
    "amd64": Architecture(
        "qemu-system-x86_64",
        "q35,sata=off,smbus=off,i8042=off,vmport=off",
        "Nehalem",
        "ttyS0",
        "x86_64",
    ),
    "arm64": Architecture("qemu-system-aarch64", "virt", "cortex-a76", "ttyAMA0", "aarch64"),
}


class Lost(Exception):
    """The machine did not do the job: never came up, ended without a result, or took too long."""


class Machine:
    """One image, and how it is started here.

    image: a directory of vagrant/image/build. log: its console is written there.
    """

    def __init__(
        self, image: Path, *, arch: str = "amd64", log: Path, memory_mb: int = 2560
    ) -> None:
        self.image = image
        self.arch = ARCHITECTURES[arch]
        self.log = log
        self.memory_mb = memory_mb

    def accelerator(self) -> str:
        """ "kvm" where it truly works, else "tcg"; MINIDOCK_VM_ACCEL overrules."""
        said = os.environ.get("MINIDOCK_VM_ACCEL")
        return said or ("kvm" if self._kvm_works() else "tcg")

    def _kvm_works(self) -> bool:
        if os.uname().machine != self.arch.native or not os.access("/dev/kvm", os.R_OK | os.W_OK):
            return False
        words = [*self._bare("kvm"), "-m", "256", "-serial", "stdio"]
        words += ["-kernel", f"{self.image}/vmlinuz"]
        words += ["-append", f"console={self.arch.console} panic=-1"]
        try:
            tried = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PROBE_SECONDS
            )
        except subprocess.TimeoutExpired:
            return False
        return b"Unable to mount root fs" in tried.stdout

    def _bare(self, accelerator: str) -> list[str]:
        emulated = accelerator == "tcg"
        return [
            self.arch.program,
            *("-machine", self.arch.machine),
            *("-accel", "tcg,thread=multi,tb-size=512" if emulated else accelerator),
            *("-cpu", self.arch.processor if emulated else "host"),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        ]

    def command(self, accelerator: str, source: Path, result: Path) -> list[str]:
        """QEMU's words for one job; its standard output is the job's."""
        return [
            *self._bare(accelerator),
            *("-smp", str(min(os.cpu_count() or 1, 4)), "-m", str(self.memory_mb)),
            *("-kernel", f"{self.image}/vmlinuz", "-initrd", f"{self.image}/initrd.img"),
            *("-append", f"console={self.arch.console} {KERNEL_WORDS}"),
            *("-serial", f"file:{self.log}"),
            *("-nic", "user,model=virtio-net-pci"),
            *("-device", "virtio-rng-pci"),
            *_disk("root", f"{self.image}/root.img", "snapshot=on,cache=unsafe"),
            *_disk("src", str(source), "readonly=on"),
            *_disk("out", str(result), "cache=unsafe"),
            *("-chardev", "file,id=out,path=/dev/stdout"),
            *(
                "-device",
                "virtio-serial-pci",
                "-device",
                "virtserialport,chardev=out,name=minidock.out",
            ),
        ]

    def run(
        self, source: Path, *, results: Path, seconds: float, line: Callable[[str], None]
    ) -> int:
        """Do the job in a new machine; its exit code, and what it left, unpacked into `results`.

        source: a tar with the program `job` in it. line: gets each line that it prints.
        Raises Lost.
        """
        with tempfile.TemporaryDirectory(prefix="minidock-vm-", dir="/var/tmp") as work:
            disk = Path(work) / "out.raw"
            with disk.open("wb") as made:
                made.truncate(RESULT_BYTES)
            qemu = subprocess.Popen(
                self.command(self.accelerator(), source, disk),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            late = threading.Timer(seconds, qemu.kill)
            late.start()
            try:
                assert qemu.stdout is not None
                for said in qemu.stdout:
                    line(said.rstrip())
                code = qemu.wait()
                overran = not late.is_alive()
            finally:
                late.cancel()
                if qemu.poll() is None:
                    qemu.kill()
                    qemu.wait()
            if overran:
                raise Lost(f"the machine was still at it after {seconds:.0f} s")
            return _unpack(disk, results, f"QEMU ended with {code}")


def _disk(serial: str, file: str, options: str) -> list[str]:
    return [
        *("-drive", f"if=none,id={serial},file={file},format=raw,{options}"),
        *("-device", f"virtio-blk-pci,drive={serial},serial={serial}"),
    ]


def _unpack(disk: Path, results: Path, otherwise: str) -> int:
    """What the job left, and its exit code. Raises Lost where it left nothing."""
    try:
        with tarfile.open(disk, "r:") as left:  # as xz, zeros would be read to their end
            left.extractall(results, filter="data")
        return int((results / "code").read_text())
    except (tarfile.TarError, OSError, ValueError) as error:
        raise Lost(f"the machine left no result ({error}); {otherwise}") from error
