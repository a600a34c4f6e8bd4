"""The containers that use an image."""

from __future__ import annotations

from minidock.engine.store.container_json import list_documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.images import Users
    from minidock.paths import Store


def users_of(store: Store) -> Users:
    """Return a function: image ID -> the containers that use it, and whether each runs.

    It raises DamagedFile for a damaged container.json: the image of that container is unknown.
    """

    def users(image_id: str) -> list[tuple[str, bool]]:
        return [
            (document["Id"], bool(document["State"]["Running"]))
            for document in list_documents(store, strictly=True)
            if document["Image"] == image_id
        ]

    return users
