"""Images: an archive as `docker save` writes it becomes layers on disk, and a name to run them by.

    /var/lib/box/              BOX_STORE moves it
        images.json            {name: the image's config}
        layers/DIGEST/         a layer, unpacked once for all images; DIGEST: sha256 of its tar
        base/                  an empty directory: the lowest layer of every image

Source: OCI image-spec, config.md and layer.md.
"""

import gzip
import hashlib
import json
import os
import shutil
import stat
import sys
import tarfile
import tempfile
import zlib

import overlay
import process

STORE = os.environ.get("BOX_STORE", "/var/lib/box")
LAYERS = f"{STORE}/layers"

# Exceptions of reading a file that is not an archive, or not an image archive.
DAMAGED = (
    tarfile.TarError,
    zlib.error,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


def before(box):
    """If box.rootfs is an image's name: set its layers, and the command of its config."""
    box.config = None
    if os.path.isdir(box.rootfs):
        return
    known = images()
    found = known.get(box.rootfs) or known.get(f"{box.rootfs}:latest")
    if not found:
        raise OSError(f"{box.rootfs}: neither a directory nor a loaded image")
    box.config = found.get("config") or {}
    given = box.command or box.config.get("Cmd") or []
    box.command = (box.config.get("Entrypoint") or []) + given
    box.layer = [layer(diff_id) for diff_id in found["rootfs"]["diff_ids"]] + box.layer
    box.rootfs = f"{STORE}/base"


def images():
    """The loaded images: {name: config}."""
    try:
        with open(f"{STORE}/images.json") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def layer(diff_id):
    """The directory of a layer. diff_id: "sha256:" and 64 digits; it comes from an archive."""
    kind, _, digest = diff_id.partition(":")
    if kind != "sha256" or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise OSError(f"{diff_id!r} is not the digest of a layer")
    return f"{LAYERS}/{digest}"


def load(arguments):
    """box load TAR: store the images of an archive; print their names."""
    if len(arguments) != 1:
        raise OSError("usage: box load TAR")
    for directory in (LAYERS, f"{STORE}/base"):
        os.makedirs(directory, exist_ok=True)
    loaded = {}
    try:
        with tarfile.open(arguments[0]) as archive:
            for image in json.load(archive.extractfile("manifest.json")):
                loaded |= load_image(archive, image)
    except DAMAGED as error:
        raise OSError(f"{arguments[0]}: not an archive of images: {error!r}") from None
    write_images(images() | loaded)
    print(*loaded, sep="\n")
    return 0


def load_image(archive, image):
    """Store the layers of one image of manifest.json; returns {name: config}."""
    text = archive.extractfile(image["Config"]).read()
    config = json.loads(text)
    for name, diff_id in zip(image["Layers"], config["rootfs"]["diff_ids"], strict=True):
        keep(archive.extractfile(name), diff_id)
    nameless = [f"sha256:{hashlib.sha256(text).hexdigest()}"]
    return dict.fromkeys(image["RepoTags"] or nameless, config)


def write_images(known):
    """Replace images.json by rename, so that a reader finds either the old or the new one."""
    with open(f"{STORE}/.images.json", "w") as file:
        json.dump(known, file, indent=1)
    os.rename(file.name, f"{STORE}/images.json")


def keep(file, diff_id):
    """Unpack a layer, unless it exists. Check its digest first."""
    directory = layer(diff_id)
    if os.path.isdir(directory):
        return
    # In a temporary file: what is unpacked is what was checked. And a child shares the file offset
    # with its parent, which continues to read the archive.
    with tempfile.TemporaryFile(dir=LAYERS) as plain:
        if copy(uncompressed(file), plain) != os.path.basename(directory):
            raise OSError(f"the digest of a layer is not {diff_id}, as its config says")
        unpacked = tempfile.mkdtemp(prefix=".new-", dir=LAYERS)
        try:
            os.chmod(unpacked, 0o755)
            if process.wait(process.start(lambda: unpack(plain, unpacked))):
                raise OSError("a layer was not unpacked")
            os.rename(unpacked, directory)  # complete, or not at all
        except BaseException:
            shutil.rmtree(unpacked)
            raise


def uncompressed(file):
    """Decompress a file if it is compressed with gzip."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file


def copy(source, target):
    """Copy a file and rewind the copy; returns the SHA-256 of the content."""
    digest = hashlib.sha256()
    while block := source.read(1 << 20):
        digest.update(block)
        target.write(block)
    target.seek(0)
    return digest.hexdigest()


def unpack(file, directory):
    """In a child, which calls chroot first: for every name in the layer, / is the layer."""
    mark = f"{overlay.marks()}.overlay.opaque"
    os.chroot(directory)
    os.chdir("/")
    os.umask(0o022)  # for directories without an entry
    sys.path.clear()  # a module imported from here on would be the layer's
    try:
        with tarfile.open(fileobj=file, errorlevel=2) as archive:
            for member in archive:
                place(archive, member, mark)
    except DAMAGED as error:
        raise OSError(f"a layer is damaged: {error}") from None
    os._exit(0)


def place(archive, member, mark):
    """Create one file of a layer; for OCI's .wh. files, overlayfs's whiteout or attribute."""
    member.name = path = os.path.normpath(f"/{member.name}")
    if path == "/":
        return  # the layer's own directory exists
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    if name == ".wh..wh..opq":
        os.setxattr(directory, mark, b"y")
    elif name.startswith(".wh."):
        os.mknod(os.path.join(directory, name[4:]), stat.S_IFCHR, os.makedev(0, 0))
    else:
        make_room(path, member)
        archive.extract(member, "/", numeric_owner=True, filter="fully_trusted")


def make_room(path, member):
    """Remove what an earlier entry of this name created. Directories are merged, not replaced."""
    if os.path.isdir(path) and not os.path.islink(path):
        if not member.isdir():
            shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


VERBS = {"load": load}
