"""Questions about layers, mounts, and what outlives a container."""

from __future__ import annotations

import os

from minidock.engine.container.lookup import find
from minidock.engine.lifecycle.remove import remove
from minidock.teach.lab.quiz.kernel import attribute, kind_of, mount_under, text_of
from minidock.teach.lab.quiz.question import Answer, Prompt, last_question, question

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.teach.lab.quiz.question import Steps
    from minidock.teach.lab.quiz.scene import Scene

_LAYER, _UPPER = "a layer of the image", "its own upper directory"
_TMPFS, _VOLUME = "memory: a tmpfs", "the volume's directory"


def _home_of(scene: Scene, path: str) -> str:
    """Where the file lives that the container sees at a path."""
    found = os.stat(f"/proc/{scene.pid}/root{path}")
    volume = f"{scene.store.volume(scene.volume)}/_data/{os.path.basename(path)}"
    if os.path.exists(volume) and os.path.samestat(found, os.stat(volume)):
        return _VOLUME
    if mount_under(scene.pid, path)[1] == "tmpfs":
        return _TMPFS
    if os.path.lexists(scene.upper + path):
        return _UPPER
    return _LAYER if any(os.path.lexists(layer + path) for layer in scene.layers) else "nowhere"


@question
def untouched_file(scene: Scene) -> Steps:
    yield Prompt(
        "Nobody has written to /etc/passwd in the container. Where is the file that it sees?",
        _LAYER, _UPPER, _TMPFS, _VOLUME,
    )  # fmt: skip
    yield Answer(
        _home_of(scene, "/etc/passwd"),
        why="Nothing is copied when a container starts: its upper directory is empty, and the "
        "layers shine through.",
        command=f"minidock where {scene.name}:/etc/passwd",
    )


@question
def copy_up(scene: Scene) -> Steps:
    yield Prompt(
        "In the container:  echo x:x:99: >> /etc/group.  Where is the file that it sees then?",
        _LAYER, _UPPER, _TMPFS, _VOLUME,
    )  # fmt: skip
    scene.exec("sh", "-c", "echo x:x:99: >> /etc/group")
    yield Answer(
        _home_of(scene, "/etc/group"),
        why="Copy-up: opened for writing, the whole file is first copied from its layer.",
        command=f"minidock where {scene.name}:/etc/group",
    )


@question
def change_of_mode(scene: Scene) -> Steps:
    whole, mode, layer = "all of the file", "its new mode alone", "nothing: the layer is changed"
    yield Prompt(
        "chmod 600 /etc/nsswitch.conf in the container. What is in the upper directory then?",
        whole, mode, layer,
    )  # fmt: skip
    scene.exec("chmod", "600", "/etc/nsswitch.conf")
    copy = f"{scene.upper}/etc/nsswitch.conf"
    if not os.path.exists(copy):
        answer = layer
    else:
        answer = mode if attribute(copy, "trusted.overlay.metacopy") else whole
    yield Answer(
        answer,
        why="An inode cannot be half in one file system and half in another, so a chmod of 1 GB "
        "copies 1 GB; unless overlayfs is mounted with metacopy=on.",
        command=f"ls -l {copy}",
    )


@question
def whiteout(scene: Scene) -> Steps:
    yield Prompt(
        "rm /bin/vi in the container; it came from the image. What is at bin/vi in the upper "
        "directory then?",
        "nothing", "an empty file", "a character device 0/0", "a file",
    )  # fmt: skip
    scene.exec("rm", "/bin/vi")
    yield Answer(
        kind_of(f"{scene.upper}/bin/vi"),
        why="A whiteout. Other containers share the layer, so the upper directory has to "
        "record the removal.",
        command=f"ls -l {scene.upper}/bin/vi",
    )


@question
def own_file_removed(scene: Scene) -> Steps:
    yield Prompt(
        "echo > /tmp/note; rm /tmp/note in the container. What is at tmp/note in the upper "
        "directory then?",
        "nothing", "an empty file", "a character device 0/0",
    )  # fmt: skip
    scene.exec("sh", "-c", "echo > /tmp/note; rm /tmp/note")
    yield Answer(
        kind_of(f"{scene.upper}/tmp/note"),
        why="No layer below has the file, so no whiteout is needed.",
        command=f"ls -la {scene.upper}/tmp",
    )


@question
def directory_anew(scene: Scene) -> Steps:
    marked, each, nothing = "an attribute of var/spool", "a whiteout in it", "nothing"
    yield Prompt(
        "rm -r /var/spool; mkdir /var/spool in the container. What in the upper directory "
        "hides the layer's /var/spool/mail then?",
        marked, each, nothing,
    )  # fmt: skip
    scene.exec("sh", "-c", "rm -r /var/spool; mkdir /var/spool")
    if attribute(f"{scene.upper}/var/spool", "trusted.overlay.opaque") == "y":
        answer = marked
    else:
        hidden = kind_of(f"{scene.upper}/var/spool/mail") == "a character device 0/0"
        answer = each if hidden else nothing
    yield Answer(
        answer,
        why="trusted.overlay.opaque: this directory is not merged with those of its name below.",
        command=f"getfattr -m - -d {scene.upper}/var/spool",
    )


@question
def hidden_by_a_mount(scene: Scene) -> Steps:
    yield Prompt(
        "It was created with --tmpfs /home. echo hello > /home/note: where is the file?",
        _LAYER, _UPPER, _TMPFS, _VOLUME,
    )  # fmt: skip
    scene.exec("sh", "-c", "echo hello > /home/note")
    yield Answer(
        _home_of(scene, "/home/note"),
        why="A mount hides what is below its mount point: the image's /home cannot be seen.",
        command=f"grep ' /home ' /proc/{scene.pid}/mountinfo",
    )


@question
def in_the_volume(scene: Scene) -> Steps:
    yield Prompt(
        "It was created with -v DATA:/data. echo hello > /data/note: where is the file?",
        _LAYER, _UPPER, _TMPFS, _VOLUME,
    )  # fmt: skip
    scene.exec("sh", "-c", "echo hello > /data/note")
    yield Answer(
        _home_of(scene, "/data/note"),
        why="A volume is a directory of the host, bind mounted in the container: same inode.",
        command=f"ls -li {scene.store.volume(scene.volume)}/_data",
    )


@question
def root_file_system(scene: Scene) -> Steps:
    host = text_of("/proc/self/mountinfo").split(" - ")[1].split()[0]
    yield Prompt("Of which type is the file system at / in the container?",
                "overlay", "tmpfs", "proc", host)  # fmt: skip
    yield Answer(
        mount_under(scene.pid, "/")[1],
        why="Layers and upper directory, merged by the kernel; no image of a disk is involved.",
        command=f"grep ' / / ' /proc/{scene.pid}/mountinfo",
    )


@question
def hosts_file(scene: Scene) -> Steps:
    bound = "a file of the host, mounted over it"
    yield Prompt("Where does /etc/hosts in the container come from?", _LAYER, _UPPER, bound)
    point, _ = mount_under(scene.pid, "/etc/hosts")
    yield Answer(
        bound if point == "/etc/hosts" else _home_of(scene, "/etc/hosts"),
        why="minidock writes it for this container, with its address, and bind mounts it, so it is "
        "not part of a committed image.",
        command=f"grep /etc/hosts /proc/{scene.pid}/mountinfo",
    )


@question
def mounts_on_the_host(scene: Scene) -> Steps:
    yield Prompt(
        "How many of the container's mounts (/proc, /dev, its root …) are in the host's table?",
        "all", "its root only", "none",
    )  # fmt: skip
    merged = scene.container.paths.merged
    points = [line.split(" ")[4] for line in text_of("/proc/self/mountinfo").splitlines()]
    seen = [point for point in points if point == merged or point.startswith(merged + "/")]
    yield Answer(
        "none" if not seen else "its root only" if seen == [merged] else "all",
        why="The monitor mounts the layers on the host. Init mounts everything else, in the "
        "container's own mount namespace.",
        command=f"grep -c {merged} /proc/self/mountinfo",
    )


@last_question
def gone_after_restart(scene: Scene) -> Steps:
    notes = {"/root/note": "in its own upper directory", "/home/note": "in a tmpfs",
             "/data/note": "in a volume"}  # fmt: skip
    yield Prompt(
        "Three files are written, then the container is stopped and started. Which is gone?",
        *(f"{path}, {where}" for path, where in notes.items()), "none of them",
    )  # fmt: skip
    for path in notes:
        scene.exec("sh", "-c", f"echo hello > {path}")
    scene.restart()
    gone = [path for path in notes if scene.exec("test", "-e", path).code]
    yield Answer(
        " ".join(f"{path}, {notes[path]}" for path in gone) or "none of them",
        why="Files on disk are kept. A tmpfs exists as long as its mount, and the mounts end with "
        "the mount namespace.",
        command=f"minidock exec {scene.name} ls /root /home /data",
    )


@last_question
def left_after_rm(scene: Scene) -> Steps:
    disk, volume = "what it wrote to /root", "what it wrote to /data, the named volume"
    yield Prompt(
        "A second container writes a file to /root and one to /data, and is removed by rm -f -v. "
        "What is left?",
        disk, volume, "both", "nothing",
    )  # fmt: skip
    other = scene.second
    scene.make(other, "exec sleep 1000")
    upper = find(scene.store, other).paths.upper
    scene.exec("sh", "-c", "echo hello > /root/note; echo hello > /data/second", name=other)
    remove(scene.store, other, force=True, volumes=True)
    kept = os.path.exists(f"{scene.store.volume(scene.volume)}/_data/second")
    found = {
        (True, False): disk, (False, True): volume, (True, True): "both", (False, False): "nothing"
    }  # fmt: skip
    yield Answer(
        found[os.path.exists(f"{upper}/root/note"), kept],
        why="rm takes the upper directory with it, and -v the volumes without a name. Data that "
        "must outlive a container belongs in a named volume.",
        command=f"ls {scene.store.volume(scene.volume)}/_data",
    )
