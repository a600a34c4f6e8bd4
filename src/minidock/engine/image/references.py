"""Which containers keep an image from being removed."""

from __future__ import annotations

from minidock.engine.store.container_json import documents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.engine.image.images import Users
    from minidock.paths import Store


def users_of(store: Store) -> Users:
    """A function that says for an image's id which containers use it, and which of them run.

    It raises DamagedFile where a container's document is: nobody knows what that one uses.
    """

    def users(image_id: str) -> list[tuple[str, bool]]:
        return [
            (document["Id"], bool(document["State"]["Running"]))
            for document in documents(store, strictly=True)
            if document["Image"] == image_id
        ]

    return users
