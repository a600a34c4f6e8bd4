"""One image of the store: its config and its layers.

    blobs/sha256/<id>    the image's config, byte for byte; its digest is the image's ID
    layers/<chain id>/   see layers.py

Source: Docker Engine API v1.45 "ImageInspect".
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.engine.image.images_json import sort_names
from minidock.engine.store.timestamps import NEVER
from minidock.errors import DamagedFile
from minidock.oci import image_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from minidock.document_types.image import ImageConfig, ImageInspect, ImageRecord
    from minidock.paths import Store

_RELOAD_HINT = "load, pull or build the image again; rmi -f removes the damaged one"


class Image:
    """One image of the store.

    id: "sha256:<hex>". references: its names with a tag; digests: its names by digest.
    created: RFC 3339, from its config. size: bytes of its layers' files. parent: an ID or "".
    """

    def __init__(self, store: Store, image_id: str, record: ImageRecord, names: list[str]) -> None:
        self._store = store
        self.id = image_id
        names = sort_names(names)
        self.references = [name for name in names if "@" not in name]
        self.digests = [name for name in names if "@" in name]
        self.chain_ids: list[str] = record["layers"]
        self.size: int = record["size"]
        self.created: str = record["created"]
        self.parent: str = record["parent"]
        self.tagged: str = record["tagged"]
        self._config: ImageConfig | None = None

    @property
    def config(self) -> ImageConfig:
        """The image's config, parsed. Raises DamagedFile."""
        if self._config is None:
            self._config = jsontext.loads(
                self.config_bytes
            )  # validated when it was added; the digest proves it unchanged
        return self._config

    @property
    def config_bytes(self) -> bytes:
        """The image's config, byte for byte. Raises DamagedFile, also for a wrong digest."""
        from minidock.oci.digest import sha256

        path = self._store.blob(self.id)
        try:
            content = document.read_bytes(path)
        except FileNotFoundError:
            raise DamagedFile(
                path, f"it is missing; image {self.id} needs it", hint=_RELOAD_HINT
            ) from None
        except DamagedFile as error:
            raise DamagedFile(path, error.why, hint=_RELOAD_HINT) from None
        if sha256(content) != self.id:
            raise DamagedFile(path, f"it is not the config of image {self.id}", hint=_RELOAD_HINT)
        return content

    def present_layers(self) -> list[str]:
        """`layer_directories`, if all of them exist. Raises DamagedFile."""
        directories = self.layer_directories()
        for chain_id, directory in zip(self.chain_ids, directories, strict=True):
            if not os.path.isdir(directory):
                name = next(iter(self.references), self.id)
                why = f"the layer {chain_id} of image {name} is missing"
                raise DamagedFile(directory, why, hint=_RELOAD_HINT)
        return directories

    def layer_directories(self) -> list[str]:
        """The directories of the layers' files, lowest first."""
        return [f"{self._store.layer(chain_id)}/diff" for chain_id in self.chain_ids]

    def inspect(self) -> ImageInspect:
        """The image in the shape of `docker image inspect`."""
        config = self.config
        history = config.get("history") or [{}]
        directories = self.layer_directories()
        graph_data = {"LowerDir": ":".join(reversed(directories[:-1]))} if directories[1:] else {}
        if directories:
            graph_data["UpperDir"] = directories[-1]
        inspected: ImageInspect = {
            "Id": self.id,
            "RepoTags": self.references,
            "RepoDigests": self.digests,
            "Parent": self.parent,
            "Comment": config.get("comment") or history[-1].get("comment") or "",
            "Created": config.get("created") or NEVER,
            "DockerVersion": config.get("docker_version") or "",
            "Author": config.get("author") or "",
            "Config": image_config.normalised(config.get("config")),
            "Architecture": config.get("architecture") or "",
            "Variant": config.get("variant") or "",
            "Os": config.get("os") or "",
            "Size": self.size,
            "GraphDriver": {"Data": graph_data, "Name": "overlay"},
            "RootFS": {"Type": "layers", "Layers": image_config.diff_ids(config)},
            "Metadata": {"LastTagTime": self.tagged or NEVER},
        }
        if not inspected["Variant"]:
            del inspected["Variant"]
        return inspected


class NewImage:
    """An image to be added to the store.

    config_bytes: its config, validated by `image_config.parse`.
    names: references in their familiar form, each with a tag or a digest.
    """

    def __init__(self, config_bytes: bytes, chain_ids: list[str], names: Iterable[str]) -> None:
        from minidock.oci.digest import sha256

        self.id = sha256(config_bytes)
        self.config_bytes = config_bytes
        self.chain_ids = chain_ids
        self.names = list(names)
        self.parent = ""
