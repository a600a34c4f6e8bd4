"""Layers: overlayfs shows several directories as one tree, and keeps what is written in one more.

--upper DIR      what the box writes                       ^
--layer DIR      the last one, over the others             |  a name is looked up
--layer DIR      ...                                       |  from the top down
ROOTFS           the lowest layer                          |
"""

import argparse
import os
import shutil
import stat
import tarfile
import tempfile

import linux


def options(parser):
    text = "a layer over ROOTFS; several: lowest first"
    parser.add_argument("--layer", action="append", default=[], metavar="DIR", help=text)
    text = "what the box writes; without it, that is thrown away"
    parser.add_argument("--upper", metavar="DIR", help=text)


def before(box):
    """Make the two directories that overlayfs writes to: upper, and a work directory beside it."""
    box.scratch = None
    if not box.layer and not box.upper:
        return
    for directory in layers(box):
        os.scandir(directory).close()  # an error now says which one; mount's would not
    beside = os.path.dirname(os.path.abspath(box.upper)) if box.upper else None
    box.scratch = tempfile.mkdtemp(prefix=".box-", dir=beside)
    box.upper = box.upper or f"{box.scratch}/upper"
    os.mkdir(f"{box.scratch}/work")
    if not os.path.isdir(box.upper):
        os.mkdir(box.upper)
        top = os.stat(layers(box)[-1])  # the root directory of the sum is upper's: mode and owner
        os.chown(box.upper, top.st_uid, top.st_gid)
        os.chmod(box.upper, stat.S_IMODE(top.st_mode))


def inside(box):
    """Mount the sum of the layers over box.rootfs: only this mount namespace sees it there."""
    if not box.scratch:
        return
    lower = ":".join(escaped(directory, ":") for directory in reversed(layers(box)))
    choices = [f"lowerdir={lower}", f"upperdir={escaped(box.upper)}"]
    choices += [f"workdir={escaped(box.scratch)}/work"]
    # Some kernels' defaults are others. Then upper would hold notes about files, instead of files.
    choices += ["redirect_dir=nofollow", "metacopy=off"]
    if marks() == "user":
        choices += ["userxattr"]
    linux.mount("overlay", box.rootfs, "overlay", 0, ",".join(choices))


def after(box):
    """Throw the work directory away, and with it an upper that nobody asked for."""
    if box.scratch:
        inner = f"{box.scratch}/work/work"  # overlayfs's own, with mode 000
        if os.path.exists(inner):
            os.chmod(inner, 0o700)
        shutil.rmtree(box.scratch)


def layers(box):
    """All that is only read, lowest first."""
    return [box.rootfs, *box.layer]


def escaped(path, separators=""):
    """The path as mount's options take it: a comma would end the option, a colon the layer."""
    return "".join("\\" + letter if letter in "\\," + separators else letter for letter in path)


def marks():
    """Which attributes overlayfs keeps its marks in: "trusted", or "user" in a user namespace.

    trusted.* is for root of the whole machine. Who is root in a user namespace only asks for
    user.* by the option userxattr.
    """
    with open("/proc/self/uid_map") as file:
        everybody = file.read().split() == ["0", "0", "4294967295"]
    return "trusted" if everybody else "user"


WRITTEN, DELETED, OPAQUE = "W", "D", "O"


def changes(upper, below=""):
    """What an upper directory says: (letter, path) in order, a directory before what is in it."""
    for name in sorted(os.listdir(f"{upper}/{below}")):
        path = f"{below}/{name}" if below else name
        about = os.lstat(f"{upper}/{path}")
        if stat.S_ISCHR(about.st_mode) and about.st_rdev == os.makedev(0, 0):
            yield DELETED, path
        elif stat.S_ISDIR(about.st_mode):
            yield OPAQUE if is_opaque(f"{upper}/{path}") else WRITTEN, path
            yield from changes(upper, path)
        else:
            yield WRITTEN, path


def is_opaque(directory):
    """Whether nothing of the layers below is to be seen in this directory."""
    name = f"{marks()}.overlay.opaque"
    return name in os.listxattr(directory) and os.getxattr(directory, name) == b"y"


def diff(arguments):
    """box diff UPPER: print what it says, a line an entry."""
    parser = argparse.ArgumentParser(prog="box diff")
    parser.add_argument("upper")
    for letter, path in changes(parser.parse_args(arguments).upper):
        print(letter, f"/{path}")
    return 0


def commit(arguments):
    """box commit UPPER TAR: write it as an image's layer, in the format of OCI."""
    parser = argparse.ArgumentParser(prog="box commit")
    parser.add_argument("upper")
    parser.add_argument("tar")
    given = parser.parse_args(arguments)
    os.scandir(given.upper).close()  # an error now, and no empty archive
    with tarfile.open(given.tar, "w", format=tarfile.PAX_FORMAT) as archive:
        for letter, path in changes(given.upper):
            if letter == DELETED:
                directory, name = os.path.split(path)
                archive.addfile(tarfile.TarInfo(os.path.join(directory, f".wh.{name}")))
                continue
            archive.add(f"{given.upper}/{path}", path, recursive=False, filter=without_names)
            if letter == OPAQUE:
                archive.addfile(tarfile.TarInfo(f"{path}/.wh..wh..opq"))
    return 0


def without_names(member):
    """Owners as numbers: the names are those of the host's /etc/passwd, not of the box's."""
    member.uname = member.gname = ""
    return member


VERBS = {"diff": diff, "commit": commit}
