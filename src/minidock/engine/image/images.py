"""Images: names for configs, and the layers that a config stands on.

    images.json          {"images": {image id: record}, "references": {"busybox:latest": image id}}
    blobs/sha256/<id>    the image's config, as it came; its digest is the image's ID
    layers/<chain id>/   see layers.py

A record holds what lists and starts need, so that neither opens another file: layers (chain ids,
lowest first), size, created, parent (the image that it was committed or built on), tagged.
A record with "removed" set belongs to an image that `rmi -f` took away from under a container: it
has no name and is not listed, and its layers stay until that container is gone.

Reading is on the way of every `run`: one small file, no lock, no heavy import. Removing is in
removal.py, and what fills the store in archive.py, commit.py and their like.

Source: Docker Engine API v1.45 "ImageInspect"; moby daemon/images/image.go for how names resolve.
"""

from __future__ import annotations

import os

from minidock import document, jsontext
from minidock.document import Each
from minidock.engine.image.events import emit_image
from minidock.engine.store.clock import NEVER, seconds_of, timestamp
from minidock.engine.store.store import StoreLock, is_made, prepare
from minidock.errors import DamagedFile, NotFound, StoreError, UsageError
from minidock.kernel.disk import sync_file_system
from minidock.oci import image_config, reference
from minidock.oci.digest import PREFIX, is_digest, is_hex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builtins import list as List  # where the method `list` hides it
    from collections.abc import Callable, Iterable
    from typing import Any

    from minidock.engine.image.layers import StagedLayer
    from minidock.paths import Store

    # The containers that use an image: (id or name, whether it runs).
    Users = Callable[[str], list[tuple[str, bool]]]


_RECORD = {
    "layers": [is_digest], "size": int, "created": str, "parent": str, "tagged": str,
    "removed?": bool,
}  # fmt: skip
_SHAPE = {"images": Each(_RECORD), "references": Each(str)}
_AGAIN = "load, pull or build the image again; rmi -f removes what is left of it"


class Image:
    """One image of the store.

    id: "sha256:<hex>". references: its names with a tag; digests: its names by digest.
    created: RFC 3339, as its config says. size: bytes of its layers' files. parent: an id or "".
    """

    def __init__(
        self, store: Store, image_id: str, record: dict[str, Any], names: list[str]
    ) -> None:
        self._store = store
        self.id = image_id
        names = in_order(names)
        self.references = [name for name in names if "@" not in name]
        self.digests = [name for name in names if "@" in name]
        self.chain_ids: list[str] = record["layers"]
        self.size: int = record["size"]
        self.created: str = record["created"]
        self.parent: str = record["parent"]
        self.tagged: str = record["tagged"]
        self._config: dict[str, Any] | None = None

    @property
    def config(self) -> dict[str, Any]:
        """The image's config, parsed. Raises DamagedFile."""
        if self._config is None:
            self._config = jsontext.loads(self.config_bytes)  # by its digest what was once accepted
        return self._config

    @property
    def config_bytes(self) -> bytes:
        """The image's config as it came. Raises DamagedFile, also where its digest is another."""
        from minidock.oci.digest import sha256

        path = self._store.blob(self.id)
        try:
            content = document.read_bytes(path)
        except FileNotFoundError:
            raise DamagedFile(
                path, f"it is missing; image {self.id} needs it", hint=_AGAIN
            ) from None
        except DamagedFile as error:
            raise DamagedFile(path, error.why, hint=_AGAIN) from None
        if sha256(content) != self.id:
            raise DamagedFile(path, f"it is not the config of image {self.id}", hint=_AGAIN)
        return content

    def present_layers(self) -> list[str]:
        """The same, where all of them are there. Raises DamagedFile."""
        directories = self.layer_directories()
        for chain_id, directory in zip(self.chain_ids, directories, strict=True):
            if not os.path.isdir(directory):
                name = next(iter(self.references), self.id)
                why = f"the layer {chain_id} of image {name} is missing"
                raise DamagedFile(directory, why, hint=_AGAIN)
        return directories

    def layer_directories(self) -> list[str]:
        """The directories of the layers' files, lowest first."""
        return [f"{self._store.layer(chain_id)}/diff" for chain_id in self.chain_ids]

    def inspect(self) -> dict[str, Any]:
        """The image in the shape of `docker image inspect`."""
        config = self.config
        history = config.get("history") or [{}]
        directories = self.layer_directories()
        graph_data = {"LowerDir": ":".join(reversed(directories[:-1]))} if directories[1:] else {}
        if directories:
            graph_data["UpperDir"] = directories[-1]
        inspected = {
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
        }
        if config.get("variant"):
            inspected["Variant"] = config["variant"]
        return {
            **inspected,
            "Os": config.get("os") or "",
            "Size": self.size,
            "GraphDriver": {"Data": graph_data, "Name": "overlay"},
            "RootFS": {"Type": "layers", "Layers": image_config.diff_ids(config)},
            "Metadata": {"LastTagTime": self.tagged or NEVER},
        }


class NewImage:
    """An image that is to enter the store.

    config_bytes: its config, which `image_config.parse` has accepted.
    names: references in their familiar form, each with a tag or a digest.
    """

    def __init__(self, config_bytes: bytes, chain_ids: list[str], names: Iterable[str]) -> None:
        from minidock.oci.digest import sha256

        self.id = sha256(config_bytes)
        self.config_bytes = config_bytes
        self.chain_ids = chain_ids
        self.names = list(names)
        self.parent = ""


class ImageStore:
    """The images of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def resolve(self, ref: str) -> Image:
        """The image that a name, a digest, an id or an unambiguous beginning of an id means.

        A whole id also finds an image that was removed from under a container, for its restart.
        Raises NotFound "No such image: X".
        """
        catalogue = self.read()
        image_id = find_id(catalogue, ref)
        if not image_id:
            raise NotFound(
                f"No such image: {_as_shown(ref)}",
                hint="'minidock images' lists those that there are; 'minidock load' brings one",
            )
        return self._image(catalogue, image_id)

    def list(self) -> List[Image]:
        """All images, the newest first."""
        catalogue = self.read()
        names = _names_by_image(catalogue)
        images = [
            Image(self._store, image_id, record, names.get(image_id, []))
            for image_id, record in catalogue["images"].items()
            if not record.get("removed")
        ]
        return sorted(images, key=lambda image: seconds_of(image.created), reverse=True)

    def tag(self, source: str, target: str) -> None:
        """Give an image another name; a name that another image has moves over.

        Raises NotFound for the source, UsageError for a target that is no name.
        """
        try:
            reference.parse(target)
        except UsageError as error:
            raise UsageError(f'"{target}" is not a valid repository/tag: {error}') from None
        name = reference.parse_tagged(target).familiar
        with StoreLock(self._store):
            catalogue = self.read()
            image_id = find_id(catalogue, source)
            if not image_id or catalogue["images"][image_id].get("removed"):
                raise NotFound(f"No such image: {_as_shown(source)}")
            catalogue["references"][name] = image_id
            catalogue["images"][image_id]["tagged"] = _now()
            self.write(catalogue)
            image = self._image(catalogue, image_id)
        emit_image(self._store, image, "tag", name=name)

    def remove(
        self, ref: str, *, force: bool, in_use: Users, keep_parents: bool = False
    ) -> List[str]:
        """Untag an image, and delete it with its last name; see removal.py.

        in_use: the containers that use an image id, each with whether it runs.
        keep_parents: the images without a name that it was made on stay.
        Returns Docker's lines: "Untagged: busybox:latest", "Deleted: sha256:…".
        """
        from minidock.engine.image import removal

        return removal.remove(
            self._store, ref, force=force, in_use=in_use, keep_parents=keep_parents
        )

    def add(
        self, config_bytes: bytes, layers: List[str], references: Iterable[str], *, parent: str = ""
    ) -> Image:
        """Bring an image into the store whose layers are there already.

        layers: chain ids, lowest first. Returns the image.
        """
        image_config.parse(config_bytes)
        image = NewImage(config_bytes, layers, references)
        image.parent = parent
        missing, _ = self.add_all([image], {})
        if missing:
            raise StoreError(f"the layer {missing[0]} is not in the store")
        return self.resolve(image.id)

    def add_all(
        self, images: List[NewImage], staged: dict[str, StagedLayer]
    ) -> tuple[List[str], dict[str, str]]:
        """Bring images into the store, all of them in one step.

        staged: chain id -> a layer that waits in staging/, for those that the store may not have.
        Returns the chain ids of layers that are nowhere (then nothing was done: another command has
        removed them meanwhile), and for each name that moved, the id of the image that had it.
        """
        prepare(self._store)
        if staged:
            sync_file_system(self._store.staging)  # before anything names them
        with StoreLock(self._store) as lock:
            wanted = {chain_id: None for image in images for chain_id in image.chain_ids}
            absent = [c for c in wanted if not os.path.isdir(self._store.layer(c))]
            missing = [chain_id for chain_id in absent if chain_id not in staged]
            if missing:
                return missing, {}
            catalogue = self.read()
            if not os.path.exists(self._store.images):
                self.write(catalogue)  # before the first config: from now on, missing means lost
            moved: dict[str, str] = {}
            with lock.unsettled():
                for chain_id in absent:
                    os.rename(staged[chain_id].path, self._store.layer(chain_id))
                if absent:
                    document.sync(self._store.layers)
                for image in images:
                    moved.update(self._enter(catalogue, image))
                self.write(catalogue)
        return [], moved

    def read(self) -> dict[str, dict[str, Any]]:
        """images.json as it is on disk.

        Raises DamagedFile, also where it is missing and there are images' configs; StoreError for
        a store that is not ours.
        """
        if not is_made(self._store):
            return {"images": {}, "references": {}}
        try:
            catalogue: dict[str, dict[str, Any]] = document.read(self._store.images, _SHAPE)
        except FileNotFoundError:
            if count := len(self._configs()):
                text = f"it is missing, and the store has {count} images"
                raise DamagedFile(self._store.images, text) from None
            return {"images": {}, "references": {}}
        images = catalogue["images"]
        if not all(map(is_digest, images)):
            raise DamagedFile(self._store.images, "an image's id is not a digest")
        for name, image_id in catalogue["references"].items():
            if image_id not in images:
                raise DamagedFile(self._store.images, f"{name} is a name of no image")
        return catalogue

    def _configs(self) -> List[str]:
        """The digests of all blobs that are there."""
        try:
            return [name for name in os.listdir(self._store.blobs) if is_hex(name)]
        except FileNotFoundError:
            return []

    def write(self, catalogue: dict[str, dict[str, Any]]) -> None:
        """Write images.json; the caller holds the store's lock."""
        document.write(self._store.images, jsontext.dumps(catalogue), durable=True)

    def _image(self, catalogue: dict[str, dict[str, Any]], image_id: str) -> Image:
        names = [name for name, owner in catalogue["references"].items() if owner == image_id]
        return Image(self._store, image_id, catalogue["images"][image_id], names)

    def _enter(self, catalogue: dict[str, dict[str, Any]], image: NewImage) -> dict[str, str]:
        """Write an image's config and its record; returns the names that moved."""
        from minidock.engine.image.layers import read_layer

        config = jsontext.loads(image.config_bytes)
        if not os.path.exists(self._store.blob(image.id)):
            document.write(self._store.blob(image.id), image.config_bytes, durable=True)
        known = catalogue["images"].get(image.id, {})
        catalogue["images"][image.id] = {
            "layers": image.chain_ids,
            "size": sum(read_layer(self._store, c)["size"] for c in image.chain_ids),
            "created": config.get("created") or NEVER,
            "parent": image.parent or known.get("parent", ""),
            "tagged": _now() if image.names else known.get("tagged", ""),
        }
        references = catalogue["references"]
        before = {name: references.get(name, image.id) for name in image.names}
        references.update(dict.fromkeys(image.names, image.id))
        return {name: owner for name, owner in before.items() if owner != image.id}


def find_id(catalogue: dict[str, dict[str, Any]], ref: str) -> str:
    """The id of the image that a reference means, or "".

    The order is Docker's: a whole id, a name, and only then the beginning of an id.
    """
    images = catalogue["images"]
    whole = ref if ref.startswith(PREFIX) else PREFIX + ref
    if is_digest(whole):
        return whole if whole in images else ""
    if not ref.startswith(PREFIX):
        name = reference.parse(ref).with_default_tag()
        found: str = catalogue["references"].get(_key(name), "")
        if found:
            return found
    start = ref.removeprefix(PREFIX)
    if not is_hex(start):
        return ""
    matches = [
        image_id
        for image_id, record in images.items()
        if image_id.startswith(PREFIX + start) and not record.get("removed")
    ]
    return matches[0] if len(matches) == 1 else ""


def in_order(names: Iterable[str]) -> list[str]:
    """Familiar names in Docker's order: that of whole ones, with docker.io/library/."""
    listed = list(names)
    return sorted(listed, key=lambda n: str(reference.parse(n))) if len(listed) > 1 else listed


def _key(name: reference.Reference) -> str:
    """The key of images.json for a name; where a digest is given, the tag counts for nothing."""
    if name.digest:
        return f"{name.familiar_name}@{name.digest}"
    return name.familiar


def _as_shown(ref: str) -> str:
    """A reference as Docker's errors show it: familiar, with its tag."""
    if ref.startswith(PREFIX):
        return ref
    try:
        return reference.parse(ref).with_default_tag().familiar
    except UsageError:
        return ref


def _names_by_image(catalogue: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, image_id in catalogue["references"].items():
        names.setdefault(image_id, []).append(name)
    return names


def _now() -> str:
    return timestamp()
