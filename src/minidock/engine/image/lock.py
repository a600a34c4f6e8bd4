"""The store's lock for images: while it is held, images.json and the layers are consistent."""

from __future__ import annotations

from minidock import document
from minidock.engine.store.store import StoreLock, needs_recovery
from minidock.errors import DamagedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.paths import Store


class ImagesLock(StoreLock):
    """A StoreLock that first completes or undoes an interrupted change of images."""

    def settle(self) -> None:
        """Complete or undo the change of a killed process; a damaged file defers this."""
        from minidock.engine.image.recovery import settle  # rarely needed

        try:
            settle(self._store)
            self.mark(settled=True)
        except DamagedFile as error:  # deferred; commands that need the file report it
            document.report_skipped(error)


def settle_images(store: Store) -> None:
    """Settle an interrupted change of images, if there is one, before they are read unlocked."""
    if needs_recovery(store):
        with ImagesLock(store):
            pass  # which settles it
