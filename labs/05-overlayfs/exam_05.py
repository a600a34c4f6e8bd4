"""Lab 05: an overlay as a box's root, and what its upper directory becomes.

Two scenes. In the first a box runs over three layers, writes, and is looked at while it sleeps. In
the second the upper directory is the kernel's own work, made by mount(8): diff and commit are asked
about that, whatever the student's overlay is like.
"""

from __future__ import annotations

import base64
import io
import re
import signal
import tarfile
from dataclasses import dataclass

from minidock.teach.lab.exam import (
    Exam,
    Failure,
    Process,
    ProgramResult,
    RunningBox,
    Sandbox,
    Snapshot,
    eventually,
    scene,
)

ONE, TWO, UPPER = "/work/one", "/work/two", "/work/upper"
TAR = "/work/layer.tar"
OVER = ("--layer", ONE, "--layer", TWO)

PREPARED = f"""
mkdir -p /rootfs/replaced/old {ONE}/etc {TWO}/etc
for file in same hidden changed removed moded; do echo ROOTFS > /rootfs/etc/$file; done
echo one > {ONE}/etc/same; echo one > {ONE}/etc/of-one
echo two > {TWO}/etc/same; echo two > {TWO}/etc/of-two
mknod {TWO}/etc/hidden c 0 0
chown 12:34 {TWO}; chmod 1711 {TWO}
"""
WRITES = """
echo new > /new; echo more >> /etc/changed; rm /etc/removed; chmod 600 /etc/moded
rm -r /replaced; mkdir /replaced; touch /replaced/new; exec sleep 555000555
"""
LISTING = f"""
find /rootfs {ONE} {TWO} -exec stat -c '%n: %F, mode %a, owner %u:%g, %s bytes' {{}} +
find /rootfs {ONE} {TWO} -type f -exec md5sum {{}} +
"""
MOUNT_OWN = "/run/mount"  # a directory of mount(8), which it leaves behind
FOLDERS = "/work", "/tmp", "/run", "/var/tmp"


def prepare(sandbox: Sandbox, script: str) -> None:
    """Set something up in the sandbox, as its root."""
    result = sandbox.start_command("/bin/sh", "-ec", script).wait()
    if result.exit_code:
        raise RuntimeError(f"the sandbox could not be set up: {result.summary()}")


def look(process: Process, *argv: str) -> str:
    """What a process sees, with users by their numbers in the sandbox, not the host's."""
    first = process.uid_map()[0][1]
    text = process.nsenter(*argv, check=False).strip()
    return re.sub(r"\b1\d{9}\b", lambda found: str(int(found[0]) - first), text)


def listing(sandbox: Sandbox) -> list[str]:
    """The files that must not change: ROOTFS and the layers."""
    return sorted(look(sandbox.init, "sh", "-c", LISTING).splitlines())


def new_names(sandbox: Sandbox, before: dict[str, list[str]]) -> list[str]:
    """New files in the directories where a box may keep files."""
    return [
        f"{folder}/{name}"
        for folder, names in before.items()
        for name in sandbox.listdir(folder)
        if name not in names and f"{folder}/{name}" != MOUNT_OWN
    ]


@dataclass
class Layered:
    """A box over three layers: what was there before, the box itself, and how to end it."""

    sandbox: Sandbox
    box: RunningBox
    before: list[str]
    names: dict[str, list[str]]
    snapshot: Snapshot
    result: ProgramResult | None = None

    def nsenter(self, *argv: str) -> str:
        """Run an applet in the running box; returns its output."""
        return self.box.command.nsenter(*argv).strip()

    def end(self) -> ProgramResult:
        """End the command, and so the box."""
        if not self.result:
            self.sandbox.signal(self.box.command, signal.SIGKILL)
            self.result = self.box.program.wait()
        return self.result

    def left(self) -> list[str]:
        """What exists now and did not before, except upper."""
        found = self.sandbox.snapshot().list_new_since(self.snapshot)
        return found + [name for name in new_names(self.sandbox, self.names) if name != UPPER]


@scene
def layered(sandbox: Sandbox) -> Layered:
    prepare(sandbox, PREPARED)
    before, snapshot = listing(sandbox), sandbox.snapshot()
    names = {folder: sandbox.listdir(folder) for folder in FOLDERS}
    program = sandbox.start("run", *OVER, "--upper", UPPER, sandbox.rootfs, "sh", "-c", WRITES)
    command = sandbox.find(program, "sleep", "555000555")
    return Layered(sandbox, RunningBox(program, command), before, names, snapshot)


def one_tree(exam: Exam) -> str:
    seen = exam.of(layered)
    root = [mount for mount in seen.box.command.mounts() if mount.target == "/"]
    kinds = {mount.fstype for mount in root} or {"not among its mounts"}
    if kinds != {"overlay"}:
        raise Failure(f"the box's / is {', '.join(sorted(kinds))}")
    for name in ("of-one", "of-two", "hostname"):
        seen.nsenter("cat", f"/etc/{name}")
    return "the box's / is an overlay, and has files of ROOTFS and of both layers"


def order(exam: Exam) -> str:
    seen = exam.of(layered)
    same = seen.nsenter("cat", "/etc/same")
    if same != "two":
        raise Failure(f"a file that all of them have is the one of {same}")
    if "hidden" in seen.nsenter("ls", "/etc").split():
        raise Failure("a file is seen that the highest layer hides by a whiteout")
    return "the highest layer wins, and its whiteout hides a file"


def root_mode(exam: Exam) -> str:
    seen = exam.of(layered)
    mode = look(seen.box.command, "stat", "-c", "%a, owner %u:%g", "/")
    expected = look(seen.sandbox.init, "stat", "-c", "%a, owner %u:%g", TWO)
    if mode != expected:
        raise Failure(f"/ has mode {mode}; the highest layer's directory has mode {expected}")
    return f"/ has mode {mode}"


def lower_untouched(exam: Exam) -> str:
    seen = exam.of(layered)
    seen.end()
    now = listing(seen.sandbox)
    for line in now:
        if line not in seen.before:
            raise Failure(f"after the box: {line}")
    for line in seen.before:
        if line not in now:
            raise Failure(f"missing after the box: {line}")
    return f"{len(now)} lines about ROOTFS and the layers are the same before and after"


def upper(exam: Exam) -> str:
    seen = exam.of(layered)
    seen.end()
    sandbox = seen.sandbox
    for name, text in (("new", "new\n"), ("etc/changed", "ROOTFS\nmore\n")):
        if (found := sandbox.read(f"{UPPER}/{name}")) != text:
            raise Failure(f"{UPPER}/{name} holds {found!r}")
    kind = look(sandbox.init, "stat", "-c", "%F %t,%T", f"{UPPER}/etc/removed")
    if kind != "character special file 0,0":
        raise Failure(f"{UPPER}/etc/removed is {kind or 'not there'}")
    return f"{UPPER} has the new file, the whole of the changed one, and a whiteout"


def upper_again(exam: Exam) -> str:
    seen = exam.of(layered)
    seen.end()
    script = "cat /new; ls /etc/removed /replaced"
    result = seen.sandbox.run(
        "run", *OVER, "--upper", UPPER, seen.sandbox.rootfs, "sh", "-c", f"{script} 2>&1"
    )
    lines = result.output.split("\n")
    if "new" not in lines or "/etc/removed" in lines or "old" in lines:
        raise Failure(f"in a second box with the same upper, `{script}`: {result.summary()}")
    return "a second box with the same upper finds what the first one has written and removed"


def nothing_left(exam: Exam) -> str:
    seen = exam.of(layered)
    seen.end()
    # What box leaves to PID 1 of the sandbox, which is about to wait for it, is there for a moment.
    if not eventually(lambda: not seen.left(), seconds=2):
        raise Failure(f"left behind: {', '.join(seen.left())}")
    return "no mount, no process, no directory is left but upper"


def thrown_away(exam: Exam) -> str:
    seen = exam.of(layered)
    seen.end()
    sandbox = seen.sandbox
    before = {folder: sandbox.listdir(folder) for folder in FOLDERS}
    old = listing(sandbox)
    script = "echo dirt > /dirt && cat /dirt"
    result = sandbox.run("run", *OVER, sandbox.rootfs, "sh", "-c", script)
    if result.output != "dirt\n" or result.exit_code:
        raise Failure(f"without --upper, `{script}`: {result.summary()}")
    left = new_names(sandbox, before) + [line for line in listing(sandbox) if line not in old]
    if left:
        raise Failure(f"left of a box without --upper: {left[0]}")
    return "what a box without --upper wrote is gone, and is in no layer"


def missing_layer(exam: Exam) -> str:
    sandbox = exam.of(layered).sandbox
    result = sandbox.run("run", "--layer", "/work/gone", "--layer", ONE, sandbox.rootfs, "true")
    if result.exit_code != 125 or "/work/gone" not in result.errors:
        raise Failure(f"with --layer /work/gone: {result.summary()}")
    return f"with --layer /work/gone: {result.summary()}"


# diff and commit ---------------------------------------------------------------------------------

BY_THE_KERNEL = f"""
mkdir -p /work/low/dir/old /work/low/deep/er /work/scratch {UPPER}
cd /work/low; for file in keep gone deep/er/file; do echo low > $file; done
options=lowerdir=/work/low,upperdir={UPPER},workdir=/work/scratch,userxattr
mount -t overlay overlay -o $options /mnt
cd /mnt; rm gone deep/er/file; rm -r dir; mkdir dir
echo twice > dir/new; ln dir/new dir/same; ln -s ../keep dir/link; mkfifo pipe; echo x > 'a b'
echo more >> keep; chown 7:8 keep; chmod 4750 keep
cd /; umount /mnt
"""
DIFF = """W /a b
W /deep
W /deep/er
D /deep/er/file
O /dir
W /dir/link
W /dir/new
W /dir/same
D /gone
W /keep
W /pipe""".splitlines()


@dataclass
class Layer:
    """What is in an archive that `box commit` has made."""

    names: list[str]
    members: dict[str, tarfile.TarInfo]
    texts: dict[str, bytes]


@scene
def written(sandbox: Sandbox) -> Sandbox:
    prepare(sandbox, BY_THE_KERNEL)
    return sandbox


def committed(exam: Exam) -> Layer:
    """The archive that `box commit` makes of what the kernel has written."""
    sandbox = exam.of(written)
    if not sandbox.exists(TAR):
        result = sandbox.run("commit", UPPER, TAR)
        if result.exit_code or not sandbox.exists(TAR):
            raise Failure(f"box commit {UPPER} {TAR}: {result.summary()}")
    layer = Layer([], {}, {})
    data = base64.b64decode(sandbox.start_command("/usr/bin/base64", TAR).wait().output)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./").rstrip("/")
                layer.names.append(name)
                layer.members[name] = member
                if member.isreg() and (file := tar.extractfile(member)):
                    layer.texts[name] = file.read(1000)
    except tarfile.TarError as error:
        raise Failure(f"{TAR} is not an uncompressed tar archive: {error}") from None
    return layer


def diff(exam: Exam) -> str:
    result = exam.of(written).run("diff", UPPER)
    lines = result.output.splitlines()
    if result.exit_code:
        raise Failure(f"box diff {UPPER}: {result.summary()}")
    for line in lines:
        if line not in DIFF:
            raise Failure(f"it says {line!r}, where it should say: {' · '.join(DIFF)}")
    for line in DIFF:
        if line not in lines:
            raise Failure(f"it does not say {line!r}")
    if lines != DIFF:
        raise Failure(f"in another order: {' · '.join(lines)}")
    return f"it says {len(lines)} lines, as it should"


def commit_whiteouts(exam: Exam) -> str:
    layer = committed(exam)
    for name in (".wh.gone", "deep/er/.wh.file", "dir/.wh..wh..opq"):
        if layer.texts.get(name) != b"":
            raise Failure(f"the archive has no empty file {name}: it has {', '.join(layer.names)}")
    for name, member in layer.members.items():
        if member.ischr() or name in ("gone", "deep/er/file"):
            raise Failure(f"{name} is in the archive: overlayfs's whiteouts mean nothing there")
        if any("overlay" in key for key in member.pax_headers):
            raise Failure(f"{name} carries an attribute of overlayfs")
    return "two whiteouts and an opaque directory, as OCI writes them"


def commit_files(exam: Exam) -> str:
    layer = committed(exam)
    if len(set(layer.names)) < len(layer.names) or "" in layer.names or "." in layer.names:
        raise Failure(f"a name more than once, or upper itself: {', '.join(layer.names)}")
    wrong = [name for name in layer.names if name.startswith("/") or ".." in name.split("/")]
    wanted = {"a b", "deep", "deep/er", "dir", "dir/link", "dir/new", "dir/same", "keep", "pipe"}
    if wrong or not wanted <= set(layer.names):
        raise Failure(f"absolute or missing names: {', '.join(layer.names)}")
    keep, link = layer.members["keep"], layer.members["dir/link"]
    seen = f"{keep.mode:o} {keep.uid}:{keep.gid} {layer.texts.get('keep')!r}"
    if seen != "4750 7:8 b'low\\nmore\\n'":
        raise Failure(f"keep is in the archive as {seen}")
    if not link.issym() or link.linkname != "../keep" or not layer.members["pipe"].isfifo():
        raise Failure("a symbolic link or a FIFO is in the archive as something else")
    pair = [layer.members[f"dir/{name}"] for name in ("new", "same")]
    hard = [member.linkname.removeprefix("./") for member in pair if member.islnk()]
    if hard not in (["dir/new"], ["dir/same"]):
        raise Failure("dir/new and dir/same are one file, but not a hard link in the archive")
    return f"{len(layer.names)} entries: types, modes, owners and links are those of upper"
