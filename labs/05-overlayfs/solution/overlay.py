"""Layers: overlayfs shows several directories as one tree, and writes to one more directory.

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
    text = "what the box writes; by default discarded at the end"
    parser.add_argument("--upper", metavar="DIR", help=text)


def before(box):
    """Create the directories that overlayfs writes to: upper, and a work directory beside it."""
    box.scratch = None
    if not box.layer and not box.upper:
        return
    for directory in layers(box):
        os.scandir(directory).close()  # an error here names the layer; mount's does not
    beside = os.path.dirname(os.path.abspath(box.upper)) if box.upper else None
    box.scratch = tempfile.mkdtemp(prefix=".box-", dir=beside)
    box.upper = box.upper or f"{box.scratch}/upper"
    os.mkdir(f"{box.scratch}/work")
    if not os.path.isdir(box.upper):
        os.mkdir(box.upper)
        top = os.stat(layers(box)[-1])  # the root of the overlay has upper's mode and owner
        os.chown(box.upper, top.st_uid, top.st_gid)
        os.chmod(box.upper, stat.S_IMODE(top.st_mode))


def inside(box):
    """Mount the overlay over box.rootfs, in this mount namespace only."""
    if not box.scratch:
        return
    lower = ":".join(escaped(directory, ":") for directory in reversed(layers(box)))
    choices = [f"lowerdir={lower}", f"upperdir={escaped(box.upper)}"]
    choices += [f"workdir={escaped(box.scratch)}/work"]
    # Some kernels have other defaults: then upper contains attributes instead of whole files.
    choices += ["redirect_dir=nofollow", "metacopy=off"]
    if marks() == "user":
        choices += ["userxattr"]
    linux.mount("overlay", box.rootfs, "overlay", 0, ",".join(choices))


def after(box):
    """Remove the work directory, and a temporary upper directory."""
    if box.scratch:
        inner = f"{box.scratch}/work/work"  # overlayfs's own, with mode 000
        if os.path.exists(inner):
            os.chmod(inner, 0o700)
        shutil.rmtree(box.scratch)


def layers(box):
    """The read-only layers, lowest first."""
    return [box.rootfs, *box.layer]


def escaped(path, separators=""):
    """Escape a path for mount's options: a comma would end the option, a colon the layer."""
    return "".join("\\" + letter if letter in "\\," + separators else letter for letter in path)


def marks():
    """The namespace of overlayfs's attributes: "trusted", or "user" in a user namespace.

    Only root of the host may use trusted.*. In a user namespace, the mount option userxattr
    selects user.*.
    """
    with open("/proc/self/uid_map") as file:
        everybody = file.read().split() == ["0", "0", "4294967295"]
    return "trusted" if everybody else "user"


WRITTEN, DELETED, OPAQUE = "W", "D", "O"


def changes(upper, below=""):
    """The changes in an upper directory: (letter, path), a directory before its entries."""
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
    """Whether this directory hides the entries of the layers below."""
    name = f"{marks()}.overlay.opaque"
    return name in os.listxattr(directory) and os.getxattr(directory, name) == b"y"


def diff(arguments):
    """box diff UPPER: print the changes, one per line."""
    parser = argparse.ArgumentParser(prog="box diff")
    parser.add_argument("upper")
    for letter, path in changes(parser.parse_args(arguments).upper):
        print(letter, f"/{path}")
    return 0


def commit(arguments):
    """box commit UPPER TAR: write the changes as a layer, in OCI's format."""
    parser = argparse.ArgumentParser(prog="box commit")
    parser.add_argument("upper")
    parser.add_argument("tar")
    given = parser.parse_args(arguments)
    os.scandir(given.upper).close()  # fail before an empty archive is created
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
    """Store owners as numbers: the names would come from the host's /etc/passwd."""
    member.uname = member.gname = ""
    return member


VERBS = {"diff": diff, "commit": commit}
