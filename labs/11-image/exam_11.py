"""Lab 11: load an archive of images that this exam creates, and run boxes from it.

Two scenes. In the first an archive of three images is loaded, with all that a layer may hold, and
boxes run from it; one sleeps while it is looked at. In the second the archives are hostile: each
tries one escape from the store; /work holds what must not change.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tarfile
from dataclasses import dataclass, field

from minidock.teach.lab.exam import Exam, Failure, Process, ProgramResult, Sandbox, scene

STORE = "/var/lib/box"
MARKER = "kept-only-once"
POISONED = "poisoned"
PUBLIC = sorted(name for name in sys.stdlib_module_names if not name.startswith("_"))
CODECS = ("encodings/ascii", "encodings/idna", "encodings/latin_1")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MEMORY = 96 << 20
APPLETS = "sh cat echo env id ls pwd rm sleep stat true".split()
PASSWD = b"root:x:0:0::/root:/bin/sh\nweb:x:1234:1235::/srv/home:/bin/sh\n"
GROUP = b"root:x:0:\nweb:x:1235:\nlogs:x:77:other,web\nstaff:x:50:\n"


# Archives ----------------------------------------------------------------------------------------


@dataclass
class File:
    """One entry of a layer. kind: tarfile's; text: of a file; target: of a link."""

    name: str
    text: bytes = b""
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)


def folder(name: str) -> File:
    return File(name, kind=tarfile.DIRTYPE, mode=0o755)


def link(name: str, target: str) -> File:
    return File(name, kind=tarfile.SYMTYPE, target=target, mode=0o777)


def same(name: str, target: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> File:
    """A hard link; an archive says mode and owner of the file once more with it."""
    return File(name, kind=tarfile.LNKTYPE, target=target, mode=mode, owner=owner)


def layer(*files: File) -> bytes:
    """A layer: an uncompressed tar archive, which ends as Go's do, with no more than two blocks of
    zeros. Its owners' names are those of another machine."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for file in files:
            member = tarfile.TarInfo(file.name)
            member.type, member.linkname, member.mode = file.kind, file.target, file.mode
            member.uid, member.gid = file.owner
            member.uname = member.gname = "www-data"
            member.size = len(file.text)
            tar.addfile(member, io.BytesIO(file.text))
        end = tar.offset
    return made.getvalue()[: end + 1024]


@dataclass
class Image:
    """An image to be written into an archive. packed: which of its layers are compressed."""

    name: str
    config: dict[str, object]
    layers: list[bytes]
    packed: tuple[int, ...] = ()
    diff_ids: list[str] | None = None  # None: the right ones


def archive(*images: Image, more: tuple[File, ...] = ()) -> bytes:
    """What `docker save` writes. more: entries that nobody expects there."""
    files = [*more]
    manifest = []
    for image in images:
        diff_ids = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in image.layers]
        names = []
        for number, data in enumerate(image.layers):
            names.append(f"{diff_ids[number][7:]}/layer.tar")
            if names[-1] not in [file.name for file in files]:
                blob = gzip.compress(data, 1) if number in image.packed else data
                files.append(File(names[-1], blob))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": image.config,
            "rootfs": {"type": "layers", "diff_ids": image.diff_ids or diff_ids},
        }
        text = json.dumps(config).encode()
        files.append(File(f"{hashlib.sha256(text).hexdigest()}.json", text))
        manifest.append({"Config": files[-1].name, "RepoTags": [image.name], "Layers": names})
    return layer(*files, File("manifest.json", json.dumps(manifest).encode()))


def base() -> bytes:
    """The lowest layer: busybox, users, and what the layers over it change."""
    with open(shutil.which("busybox") or "/bin/busybox", "rb") as file:
        busybox = file.read()
    return layer(
        folder("./"),
        *[folder(name) for name in ("bin", "etc", "tmp", "cache", "srv", "proc")],
        File("bin/busybox", busybox, mode=0o755),
        *[link(f"bin/{name}", "busybox") for name in APPLETS],
        File("etc/passwd", PASSWD),
        File("etc/group", GROUP),
        File("etc/same", b"base\n"),
        File("etc/removed", b"base\n"),
        File("cache/old", b"base\n"),
        File(MARKER),
    )


def poison(sandbox: Sandbox) -> list[File]:
    """Modules where the sandbox's Python looks for its own: an import leaves /poisoned.

    Behind chroot or pivot_root such an import would run the image's code, as root.
    """
    lines = f"with open('/{POISONED}', 'a') as file: file.write(__name__ + ' ')\n"
    found = []
    for library in ("usr/lib", "usr/local/lib"):
        folders = sandbox.listdir(f"/{library}") if sandbox.exists(f"/{library}") else []
        for python in [name for name in folders if re.fullmatch(r"python3\.\d+", name)]:
            for module in (*PUBLIC, *CODECS):
                found.append(File(f"{library}/{python}/{module}.py", lines.encode()))
    return found


def site(lowest: bytes, modules: list[File]) -> Image:
    """Three layers, with all that layers may hold, and a config that asks for everything."""
    change = layer(
        *modules,
        folder("etc"),
        File("etc/same", b"change\n"),
        File("etc/.wh.removed"),
        folder("cache"),
        File("cache/.wh..wh..opq"),
        File("cache/new"),
    )
    data = layer(
        File("etc/passwd", PASSWD + b"www-data:x:33:33::/:/bin/sh\n"),
        folder("data"),
        File("data/one", b"twice\n", mode=0o640, owner=(1234, 77)),
        same("data/two", "data/one", mode=0o640, owner=(1234, 77)),
        link("data/three", "one"),
        File("data/setuid", mode=0o4711, owner=(5, 6)),
        File("tmp/", kind=tarfile.DIRTYPE, mode=0o1777),
        File("etc/same", b"data\n"),
    )
    config: dict[str, object] = {
        "User": "web",
        "Env": ["PATH=/bin:/data", "GREETING=a=b c"],
        "WorkingDir": "/made/for/it",
        "Entrypoint": None,
        "Cmd": ["sh", "-c", "echo first > /tmp/first; exec sleep 555000555"],
    }
    return Image("lab/site:1", config, [lowest, change, data], packed=(1,))


def words(lowest: bytes) -> Image:
    """Nothing but an entrypoint, which says what it got."""
    script = 'echo "words: $*"; echo "path: $PATH"; echo "ids: $(id -u) $(id -g)"; pwd'
    config: dict[str, object] = {
        "User": "4321:staff",
        "Entrypoint": ["sh", "-c", script, "sh"],
        "Cmd": ["from", "cmd"],
        "Env": None,
        "WorkingDir": "",
    }
    return Image("words:latest", config, [lowest, layer(File("words"))])


def guide(lowest: bytes) -> Image:
    """A directory to start in that leads over a link: outside there is a /work, too."""
    config: dict[str, object] = {"WorkingDir": "/way/made", "Cmd": ["pwd"]}
    return Image("guide:1", config, [lowest, layer(folder("work"), link("way", "/work"))])


# A box from an image -----------------------------------------------------------------------------


@dataclass
class Running:
    """A box from the image lab/site:1, as it sleeps."""

    sandbox: Sandbox
    command: Process

    def nsenter(self, *argv: str) -> str:
        """What is seen in the box, with users by their numbers in the sandbox, not the host's."""
        text = self.command.nsenter(*argv, check=False).strip()
        return re.sub(r"\b1\d{9}\b", lambda found: str(self.inside(found[0])), text)

    def inside(self, number: str) -> int:
        """A user or group of the host's, by its number in the sandbox."""
        return int(number) - self.command.uid_map()[0][1]


@dataclass
class Loaded:
    """A sandbox in which the archive was loaded, and the result of that."""

    sandbox: Sandbox
    result: ProgramResult
    before: list[str]
    box: Running | None = None
    said: dict[tuple[str, ...], ProgramResult] = field(default_factory=dict)

    def running(self) -> Running:
        """The box from lab/site:1, once for all."""
        if not self.box:
            options = ("--hostname", "site", "--memory", str(MEMORY))
            program = self.sandbox.start("run", *options, "lab/site:1", env={"SECRET": "outside"})
            self.box = Running(self.sandbox, self.sandbox.find(program, "sleep", "555000555"))
        return self.box

    def words(self, *command: str) -> dict[str, str]:
        """What the entrypoint of the image `words` says: {"words": …, "path": …, "ids": …}."""
        if command not in self.said:
            self.said[command] = self.sandbox.run("run", "words", *command)
        result = self.said[command]
        if result.exit_code:
            raise Failure(f"box run words {' '.join(command)}: {result.summary()}")
        lines = result.output.splitlines()
        return {name: value for name, _, value in (line.partition(": ") for line in lines)}


@scene
def loaded(sandbox: Sandbox) -> Loaded:
    lowest = base()
    sandbox.write("/work/secret", f"{SECRET}\n")
    sandbox.write(
        "/archives/three.tar", archive(site(lowest, poison(sandbox)), words(lowest), guide(lowest))
    )
    before = outside(sandbox)
    result = sandbox.run("load", "/archives/three.tar")
    if result.exit_code:
        raise Failure(f"box load: {result.summary()}")
    return Loaded(sandbox, result, before)


def load(exam: Exam) -> str:
    lines = exam.of(loaded).result.output.split("\n")
    for name in ("lab/site:1", "words:latest", "guide:1"):
        if name not in lines:
            raise Failure(f"box load does not print {name}, but: {' · '.join(lines)}")
    return "box load prints the names of three images"


def layers(exam: Exam) -> str:
    box = exam.of(loaded).running()
    kinds = {mount.fstype for mount in box.command.mounts() if mount.target == "/"}
    if kinds != {"overlay"}:
        raise Failure(f"the box's / is {', '.join(sorted(kinds)) or 'not among its mounts'}")
    if (text := box.nsenter("cat", "/etc/same")) != "data":
        raise Failure(f"a file that all three layers have is the one of {text}")
    for name in ("/etc/passwd", "/cache/new", "/data/one"):
        if not box.nsenter("ls", name).startswith(name) or "No such" in box.nsenter("ls", name):
            raise Failure(f"{name} is not there, in one of the image's layers it is")
    return "an overlay of three layers, the middle one compressed; the highest wins"


def whiteouts(exam: Exam) -> str:
    box = exam.of(loaded).running()
    found = box.nsenter("ls", "-a", "/etc", "/cache").split()
    if "removed" in found:
        raise Failure("/etc/removed is seen: etc/.wh.removed is a layer's way to remove it")
    if "old" in found:
        raise Failure("/cache/old is seen: cache/.wh..wh..opq hides all that is below")
    if odd := [name for name in found if name.startswith(".wh.")]:
        raise Failure(f"the box sees {' '.join(odd)}")
    return "what a layer removes is not seen, a directory that it replaces holds only its own"


def files(exam: Exam) -> str:
    box = exam.of(loaded).running()
    one, two, setuid = (
        box.nsenter("stat", "-c", "%i %h, mode %a, owner %u:%g", f"/data/{name}")
        for name in ("one", "two", "setuid")
    )
    if one != two or not one.endswith(" 2, mode 640, owner 1234:77"):
        raise Failure(f"a file with two names: inode, names {one}; and {two}")
    if not setuid.endswith(", mode 4711, owner 5:6"):
        raise Failure(f"a file of mode 4711, owner 5:6 is there as: inode, names {setuid}")
    if (target := box.nsenter("readlink", "/data/three")) != "one":
        raise Failure(f"a link to `one` is a link to `{target}`")
    return "hard link, symbolic link, modes and numbers of owners are the archive's"


def command(exam: Exam) -> str:
    exam.of(loaded).running()  # which has no entrypoint, and runs its Cmd
    for given, expected in (((), "from cmd"), (("given", "one"), "given one")):
        if (seen := exam.of(loaded).words(*given).get("words")) != expected:
            raise Failure(f"box run words {' '.join(given)}: the entrypoint got `{seen}`")
    return "Cmd alone; Entrypoint with Cmd; Entrypoint with what was given"


def environment(exam: Exam) -> str:
    box = exam.of(loaded).running()
    seen = box.command.environment()
    for name, value in (
        ("PATH", "/bin:/data"), ("GREETING", "a=b c"), ("HOME", "/srv/home"), ("HOSTNAME", "site"),
    ):  # fmt: skip
        if seen.get(name) != value:
            raise Failure(f"{name} is {seen.get(name)!r}, it should be {value!r}")
    shells = {"PWD", "OLDPWD", "SHLVL", "_"}
    if more := set(seen) - shells - {"PATH", "GREETING", "HOME", "HOSTNAME"}:
        raise Failure(f"from outside there is {', '.join(sorted(more))}")
    if (path := exam.of(loaded).words().get("path")) != PATH:
        raise Failure(f"without PATH in Env, PATH is {path}")
    return "Env, HOME and HOSTNAME, PATH where Env has none, and nothing from outside"


def directory(exam: Exam) -> str:
    if (seen := exam.of(loaded).running().command.link("cwd")) != "/made/for/it":
        raise Failure(f"the command's directory is {seen}")
    return "the command's directory is /made/for/it, which no layer has"


def user(exam: Exam) -> str:
    box = exam.of(loaded).running()
    status = box.command.status()
    uids, gids, groups = (
        [box.inside(number) for number in status[name].split()] for name in ("Uid", "Gid", "Groups")
    )
    seen = f"uid {uids[0]}, gid {gids[0]}, groups {sorted(set(groups) - {1235})}"
    if {*uids} != {1234} or {*gids} != {1235} or {*groups} - {1235} != {77}:
        raise Failure(
            f"`web` (1234, 1235, in group 77) is {seen}; all four of each: {uids}, {gids}"
        )
    if (ids := exam.of(loaded).words().get("ids")) != "4321 50":
        raise Failure(f"`4321:staff` is uid and gid {ids}")
    return f"`web` is {seen}; `4321:staff` is {ids}"


def pristine(exam: Exam) -> str:
    box = exam.of(loaded).running()
    if box.nsenter("cat", "/tmp/first") != "first":
        raise Failure("`web` could not write into the box's /tmp, which has mode 1777 in a layer")
    result = box.sandbox.run("run", "lab/site:1", "ls", "/tmp")
    if result.exit_code or result.output.strip():
        raise Failure(
            f"in another box of the image, `ls /tmp`: {result.output.strip() or result.summary()}"
        )
    return "another box of the same image sees nothing of what the first one wrote"


def shared(exam: Exam) -> str:
    sandbox = exam.of(loaded).sandbox
    found = sandbox.init.nsenter("find", STORE, "-xdev", "-name", MARKER, check=False).split()
    if len(found) > 1:
        raise Failure(f"one layer of two images is there {len(found)} times: {' '.join(found)}")
    return "a layer that two images have is in the store once"


def whole(exam: Exam) -> str:
    box = exam.of(loaded).running()
    if (name := box.nsenter("hostname")) != "site":
        raise Failure(f"with --hostname site, the hostname is {name}")
    if box.command.pid_inside() != 1:
        raise Failure(f"the command's PID is {box.command.pid_inside()}")
    groups = box.command.cgroups()
    path = groups.get("memory", groups.get("", "/"))
    name = "memory.limit_in_bytes" if "memory" in groups else "memory.max"
    if path == "/" or (limit := box.sandbox.cgroup_file("memory", path, name)) != str(MEMORY):
        raise Failure(f"with --memory {MEMORY}, its cgroup is {path}, with another limit")
    return f"a hostname, PID 1 and {limit} bytes of memory, as for any box"


def unknown(exam: Exam) -> str:
    result = exam.of(loaded).sandbox.run("run", "nobody/knows:it", "true")
    if result.exit_code != 125 or "nobody/knows:it" not in result.errors:
        raise Failure(f"box run nobody/knows:it true: {result.summary()}")
    return f"box run nobody/knows:it true: {result.summary()}"


# Hostile archives --------------------------------------------------------------------------------

UP = "../" * 12
SECRET = "nothing of this belongs into an image"
OUTSIDE = """
for name in / /*; do echo "there is $name"; done
find /work -exec stat -c '%n: %F, mode %a, %h names, %s bytes' {} +
cat /work/secret
"""


def refused(sandbox: Sandbox, name: str, data: bytes) -> ProgramResult:
    """Load one more archive; it may be refused or not."""
    sandbox.write(f"/archives/{name}.tar", data)
    return sandbox.run("load", f"/archives/{name}.tar")


def outside(sandbox: Sandbox) -> list[str]:
    """All that must stay as it is: what is in /, and /work to its files' contents and names."""
    return sandbox.init.nsenter("sh", "-c", OUTSIDE, check=False).splitlines()


def small(*files: File, name: str = "hostile:1") -> Image:
    return Image(name, {"Cmd": ["true"]}, [layer(*files)])


@scene
def hostile(sandbox: Sandbox) -> Sandbox:
    sandbox.write("/work/secret", f"{SECRET}\n")
    sandbox.write("/archives/readme", "here is what is loaded")
    return sandbox


def hostile_names(exam: Exam) -> str:
    sandbox = exam.of(hostile)
    before = outside(sandbox)
    tries = {
        "an entry ../../…/work/a": archive(small(folder("d"), File(f"d/{UP}work/a"))),
        "an entry /work/b, or ../../…/work/c beside manifest.json": archive(
            small(File("/work/b")), more=(File(f"{UP}work/c"), File("/work/c"))
        ),
        "a link way -> /work, and way/.wh.absent, way/.wh.secret, way/d": archive(
            small(
                link("way", "/work"),
                File("way/.wh.absent"),
                File("way/.wh.secret"),
                File("way/d"),
            )
        ),
    }
    for number, (what, data) in enumerate(tries.items()):
        result = refused(sandbox, f"names{number}", data)
        if result.timed_out:
            raise Failure(f"{what}: {result.summary()}")
        if (now := outside(sandbox)) != before:
            changed = sorted({*now} ^ {*before})
            raise Failure(f"{what} has changed what is outside of the store: {changed[0]}")
    return f"{len(tries)} hostile archives have changed nothing outside of the store"


def hostile_links(exam: Exam) -> str:
    sandbox = exam.of(hostile)
    before = outside(sandbox)
    thefts = [same("srv/one", "/work/secret"), same("srv/two", f"{UP}work/secret")]
    refused(sandbox, "links", archive(small(folder("srv"), *thefts, name="thief:1")))
    found = sandbox.init.nsenter("grep", "-rl", SECRET, STORE, check=False).split()
    if found or outside(sandbox) != before:
        raise Failure(f"a hard link has brought /work/secret into the image: {' '.join(found)}")
    return "hard links to a file outside have brought nothing of it into an image"


def hostile_config(exam: Exam) -> str:
    seen = exam.of(loaded)
    result = seen.sandbox.run("run", "guide:1")
    if outside(seen.sandbox) != seen.before:
        raise Failure(
            f"WorkingDir /way/made, way -> /work: it was made outside ({result.summary()})"
        )
    if result.output.strip() not in ("/work/made", "/way/made"):
        raise Failure(f"WorkingDir /way/made, way -> /work, `pwd`: {result.summary()}")
    return f"with WorkingDir /way/made, way -> /work, the box is in its own {result.output.strip()}"


def hostile_modules(exam: Exam) -> str:
    box = exam.of(loaded).running()
    if names := box.nsenter("cat", f"/{POISONED}"):
        if "No such" not in names:
            raise Failure(f"the image's own code was run as root, instead of: {names}")
    return "the image has Python modules of its own, and none of them was imported"


def digest(exam: Exam) -> str:
    sandbox = exam.of(hostile)
    image = small(File("forged"), name="forged:1")
    image.diff_ids = [f"sha256:{hashlib.sha256(b'another layer').hexdigest()}"]
    result = refused(sandbox, "digest", archive(image))
    if result.exit_code != 125:
        raise Failure(
            f"box load of an archive with another layer than its config says: {result.summary()}"
        )
    after = sandbox.run("run", "forged:1", "true")
    if after.exit_code != 125:
        raise Failure(f"refused, and then box run forged:1: {after.summary()}")
    return f"refused ({result.summary()}), and the image does not exist"
