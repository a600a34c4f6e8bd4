"""The events of images, in the format of Docker's daemon.

Source: Docker Engine API 1.45 SystemEvents; the events of docker 26.1.
"""

from __future__ import annotations

from minidock.engine.store.event_log import emit_all, event
from minidock.errors import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.store import Event
    from minidock.engine.image.image import Image
    from minidock.paths import Store


def emit_image(store: Store, image: Image, action: str, *, name: str = "", actor: str = "") -> None:
    """Emit an event of an image, with its labels.

    name: the name that the event is about, by default the image's ID. actor: for pull and push, the
    name with its tag.
    """
    emit_all(store, [image_event(image, action, name=name, actor=actor)])


def image_event(
    image: Image, action: str, *, name: str = "", actor: str = "", labelled: bool = True
) -> Event:
    """Make an event of an image for a later `emit_all`, when the image may be deleted."""
    labels: dict[str, str] = {}
    try:
        if labelled:
            labels = (image.config.get("config") or {}).get("Labels") or {}
    except StoreError:
        pass  # its config is missing or damaged
    made = event("image", action, actor or image.id, {**labels, "name": name or image.id})
    return {"status": action, "id": actor or image.id, **made}
