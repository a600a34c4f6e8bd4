"""Images: an archive as `docker save` writes it becomes layers on disk, and a name to run them by.

    /var/lib/box/              BOX_STORE moves it
        images.json            {name: the image's config}
        layers/DIGEST/         a layer, unpacked once for all images; DIGEST: sha256 of its tar
        base/                  an empty directory: the lowest layer of every image

Yours to write. The layout of the store is up to you: the grader only checks that it has no file
from outside. Source: OCI image-spec, config.md and layer.md.
"""

import os

STORE = os.environ.get("BOX_STORE", "/var/lib/box")


def before(box):
    """If box.rootfs is an image's name: set its layers, and the command of its config."""
    box.config = None
    if os.path.isdir(box.rootfs):
        return
    # TODO: box.config = the part of the image's config that is called "config"
    # TODO: box.command = Entrypoint, then the given arguments, or else Cmd
    # TODO: box.layer = the image's layers, lowest first. The part `overlay` is called next,
    #       and mounts them. box.rootfs must be a directory: the lowest layer
    raise NotImplementedError("image.before is not written yet")


def load(arguments):
    """box load TAR: store the images of an archive; print their names."""
    # TODO: manifest.json names the configs and the layers. A config's rootfs.diff_ids are the
    #       digests of the layers, uncompressed. Unpack each into a directory that overlayfs can
    #       use as a layer: what are .wh.NAME and .wh..wh..opq there?
    # TODO: where does an entry called ../../etc/passwd go? Lab 00 has the answer
    raise NotImplementedError(f"image.load is not written yet: {arguments}")


VERBS = {"load": load}
