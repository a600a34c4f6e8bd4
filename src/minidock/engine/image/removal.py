"""Remove images: `rmi` and `prune` untag, delete or refuse, by Docker's rules.

By name:  untag; delete the image with its last name. If a container uses the image, refuse; with
          -f, untag, and delete if the container is stopped.
By ID:    untag all names if they are of one repository, else require -f; then delete the image.

    hard conflict, -f does not help    another image has it as parent; a running container uses it
    soft conflict, -f helps            it has names in several repositories; a stopped container
                                       uses it

Deletion also removes layers that no other image and no build cache record references, and parents
without names, children and containers. If a container uses the image, its layers stay (see
images_json.py, "removed").

Source: moby daemon/images/image_delete.go.
"""

from __future__ import annotations

import os

from minidock.engine.image import images_json
from minidock.engine.image.events import image_event
from minidock.engine.image.image import Image
from minidock.engine.image.images import ImageStore
from minidock.engine.image.images_json import find_id, sort_names
from minidock.engine.image.lock import ImagesLock
from minidock.engine.store.event_log import emit_all, emit_pruned
from minidock.engine.store.store import Staging
from minidock.errors import Conflict, ImageNotFound
from minidock.oci import reference
from minidock.oci.digest import PREFIX, short

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.image import ImageCatalogue
    from minidock.document_types.store import Event
    from minidock.engine.image.images import Users
    from minidock.paths import Store


def remove(
    store: Store, ref: str, *, force: bool, in_use: Users, keep_parents: bool = False
) -> list[str]:
    """Untag or delete an image; returns Docker's lines: "Untagged: …", "Deleted: …".

    Raises NotFound, or Conflict with Docker's message, which says whether -f helps.
    """
    with Staging(store, "rmi") as staging:  # removed with its contents after the lock
        with ImagesLock(store) as lock:
            removal = _Removal(store, images_json.read(store), in_use, staging.path)
            removal.collect_released()
            try:
                removal.remove(ref, force=force, keep_parents=keep_parents)
            finally:
                removal.write(lock)
    return removal.lines


def prune(
    store: Store, *, tagged_too: bool, wanted: Callable[[Image], bool], in_use: Users
) -> tuple[list[str], int]:
    """Remove unused images without a tag; with `tagged_too`, all unused images.

    wanted: a filter for images.
    Returns Docker's lines, and the bytes of the removed layers.
    """
    with Staging(store, "rmi") as staging, ImagesLock(store) as lock:
        images = ImageStore(store)
        removal = _Removal(store, images_json.read(store), in_use, staging.path)
        removal.collect_released()
        try:
            for image in images.list():
                if (tagged_too or not image.references) and wanted(image):
                    removal.prune(image)
        finally:
            removal.write(lock)
    emit_pruned(store, "image", removal.freed_bytes)
    return removal.lines, removal.freed_bytes


def collect_garbage(store: Store, in_use: Users) -> None:
    """Delete images marked "removed" whose last container is gone."""
    catalogue = images_json.read(store)
    if not any(record.get("removed") for record in catalogue["images"].values()):
        return
    with Staging(store, "rmi") as staging, ImagesLock(store) as lock:
        removal = _Removal(store, images_json.read(store), in_use, staging.path)
        removal.collect_released()
        removal.write(lock)


class _Removal:
    """One removal, on images.json as read under the lock; `write` applies it."""

    def __init__(
        self, store: Store, catalogue: ImageCatalogue, in_use: Users, staging: str
    ) -> None:
        self._store = store
        self.catalogue = catalogue
        self._images = catalogue["images"]
        self._references: dict[str, str] = catalogue["references"]
        self._in_use = in_use
        self._staging = staging
        self.lines: list[str] = []
        self.freed_bytes = 0
        self._cached_layers: set[str] | None = None  # layers in the build cache
        self._removed_layers: list[str] = []  # chain IDs
        self._removed_configs: list[str] = []
        self.events: list[Event] = []  # emitted by `write`

    def remove(self, ref: str, *, force: bool, keep_parents: bool = False) -> None:
        """Untag and delete what `ref` means."""
        image_id = find_id(self.catalogue, ref)
        if not image_id or self._images[image_id].get("removed"):
            shown = ref if ref.startswith(PREFIX) else reference.parse(ref).with_default_tag()
            raise ImageNotFound(
                f"No such image: {shown if isinstance(shown, str) else shown.familiar}",
                hint="list images with 'minidock images'",
            )
        if (name := self._name_of(ref, image_id)) is not None:
            self._check_last_name(image_id, ref, force=force)
            self._untag(name)
            self._untag_digests_left_alone(image_id, name)
            if self._names(image_id):
                return
            try:
                self._check_conflicts(image_id, force=force, with_names=True)
            except Conflict:
                return  # untagged as requested; the image is still in use
        elif self._is_of_one_repository(image_id):
            self._check_conflicts(image_id, force=force, with_names=False)
            for name in self._names(image_id):
                self._untag(name)
        self._check_conflicts(image_id, force=force, with_names=True)
        self._delete(image_id, keep_parents=keep_parents)

    def prune(self, image: Image) -> None:
        """Remove an image by each of its names, without force."""
        if image.id not in self._images:
            return  # removed with a child
        if not self._names(image.id) and self._children(image.id):
            return
        for ref in self._names(image.id) or [image.id]:
            try:
                self.remove(ref, force=False)
            except Conflict:
                continue

    def collect_released(self) -> None:
        """Delete images marked "removed" that no container uses."""
        for image_id in [i for i, record in self._images.items() if record.get("removed")]:
            if not self._in_use(image_id):
                self._drop(image_id)

    def write(self, lock: ImagesLock) -> None:
        """Move layers out, delete configs, then write images.json: the removals free disk space."""
        with lock.transaction():
            for chain_id in self._removed_layers:
                bare = chain_id.removeprefix(PREFIX)
                os.rename(self._store.layer(chain_id), f"{self._staging}/{bare}")
            for image_id in self._removed_configs:
                if os.path.exists(self._store.blob(image_id)):
                    os.unlink(self._store.blob(image_id))
            images_json.write(self._store, self.catalogue)
        emit_all(self._store, self.events)

    def _name_of(self, ref: str, image_id: str) -> str | None:
        """The image's name that `ref` means, or None for an ID."""
        start = ref.removeprefix(PREFIX)
        for name in self._names(image_id):
            if name == _familiar(ref):
                return name
        return None if image_id.startswith(PREFIX + start) else ref

    def _names(self, image_id: str) -> list[str]:
        return sort_names(name for name, owner in self._references.items() if owner == image_id)

    def _untag(self, name: str) -> None:
        self._add_event(self._references[name], "untag")
        del self._references[name]
        self.lines.append(f"Untagged: {name}")

    def _add_event(self, image_id: str, action: str) -> None:
        """Queue an event of an image, which may be deleted when it is emitted."""
        image = Image(self._store, image_id, self._images[image_id], [])
        self.events.append(image_event(image, action, labelled=action != "delete"))

    def _is_of_one_repository(self, image_id: str) -> bool:
        """Whether the image has at most one tag, and digests of the same repository only."""
        names = self._names(image_id)
        repositories = {reference.parse(name).familiar_name for name in names}
        return len(repositories) <= 1 and sum("@" not in name for name in names) <= 1

    def _untag_digests_left_alone(self, image_id: str, name: str) -> None:
        """After the last tag of a repository, untag its digests too."""
        repository = reference.parse(name).familiar_name
        left = [n for n in self._names(image_id) if reference.parse(n).familiar_name == repository]
        if "@" not in name and all("@" in n for n in left):
            for digest in left:
                self._untag(digest)

    def _check_last_name(self, image_id: str, ref: str, *, force: bool) -> None:
        """Raise Conflict for the last name of an image in use, unless forced."""
        users = self._in_use(image_id)
        if force or not users or not self._is_of_one_repository(image_id):
            return
        raise Conflict(
            f'conflict: unable to remove repository reference "{ref}" (must force) - container '
            f"{_user(users[0])} is using its referenced image {short(image_id)}",
            hint="remove that container first, or use -f",
        )

    def _check_conflicts(self, image_id: str, *, force: bool, with_names: bool) -> None:
        """Raise Conflict if a container or a child image uses the image."""
        users = self._in_use(image_id)
        running = [user for user in users if user[1]]
        if self._children(image_id):
            self._refuse(image_id, "image has dependent child images", hard=True)
        if running:
            text = f"image is being used by running container {_user(running[0])}"
            self._refuse(image_id, text, hard=True)
        if force:
            return
        if with_names and self._names(image_id):
            self._refuse(image_id, "image is referenced in multiple repositories", hard=False)
        if users:
            text = f"image is being used by stopped container {_user(users[0])}"
            self._refuse(image_id, text, hard=False)

    def _refuse(self, image_id: str, reason: str, *, hard: bool) -> None:
        can = "cannot be forced" if hard else "must be forced"
        raise Conflict(f"conflict: unable to delete {short(image_id)} ({can}) - {reason}")

    def _children(self, image_id: str) -> list[str]:
        return [
            child
            for child, record in self._images.items()
            if record["parent"] == image_id and not record.get("removed")
        ]

    def _delete(self, image_id: str, *, keep_parents: bool) -> None:
        """Delete an image, and its parents that are unused now."""
        while image_id:
            for name in self._names(image_id):
                self._untag(name)
            self._add_event(image_id, "delete")
            self.lines.append(f"Deleted: {image_id}")
            parent: str = self._images[image_id]["parent"]
            if self._in_use(image_id):
                self._images[image_id]["removed"] = True
            else:
                self._drop(image_id)
            kept = parent not in self._images or (
                self._names(parent) or self._children(parent) or self._in_use(parent)
            )
            image_id = "" if kept or keep_parents else parent

    def _drop(self, image_id: str) -> None:
        """Drop an image's record, its config, and its layers that are unreferenced now."""
        # The monitor imports this module for `collect_garbage`, and rarely needs these.
        from minidock.engine.image.build_cache import cached_layers
        from minidock.engine.image.layers import size_of_layer

        record = self._images.pop(image_id)
        used = {chain_id for other in self._images.values() for chain_id in other["layers"]}
        if self._cached_layers is None:
            self._cached_layers = cached_layers(self._store)
        used |= self._cached_layers
        for chain_id in reversed(record["layers"]):
            directory = self._store.layer(chain_id)
            if (
                chain_id not in used
                and chain_id not in self._removed_layers
                and os.path.isdir(directory)
            ):
                self.freed_bytes += size_of_layer(self._store, chain_id)
                self._removed_layers.append(chain_id)
                self.lines.append(f"Deleted: {chain_id}")
        self._removed_configs.append(image_id)


def _user(user: tuple[str, bool]) -> str:
    """A container in Docker's messages: the first twelve digits of its ID."""
    return user[0][:12] if len(user[0]) == 64 else user[0]


def _familiar(ref: str) -> str:
    if ref.startswith(PREFIX):
        return ref
    return reference.parse(ref).with_default_tag().familiar
