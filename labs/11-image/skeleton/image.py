"""Images: an archive as `docker save` writes it becomes layers on disk, and a name to run them by.

    /var/lib/box/              BOX_STORE moves it
        images.json            {name: the image's config}
        layers/DIGEST/         a layer, unpacked once, whoever has it; DIGEST: sha256 of its tar
        base/                  an empty directory: what every image lies on

Yours to write. How you keep images is up to you: nobody looks into the store, but for what should
not be there. Source: OCI image-spec, config.md and layer.md.
"""

import os

STORE = os.environ.get("BOX_STORE", "/var/lib/box")


def before(box):
    """Where box.rootfs is an image's name: its layers, and what its config says of the command."""
    box.config = None
    if os.path.isdir(box.rootfs):
        return
    # TODO: box.config = the part of the image's config that is called "config"
    # TODO: box.command = Entrypoint, and after it what was given, or else Cmd
    # TODO: box.layer = the image's layers, lowest first. The part `overlay` comes next, and does
    #       the rest. box.rootfs must be a directory: it is the lowest layer of all
    raise NotImplementedError("image.before is not written yet")


def load(arguments):
    """box load TAR: keep the images of an archive; print their names."""
    # TODO: manifest.json names the configs and the layers. A config's rootfs.diff_ids are the
    #       digests of the layers, uncompressed. Unpack each into a directory that overlayfs can
    #       take as a layer: what are .wh.NAME and .wh..wh..opq there?
    # TODO: where does an entry called ../../etc/passwd go? You wrote the answer in lab 00
    raise NotImplementedError(f"image.load is not written yet: {arguments}")


VERBS = {"load": load}
