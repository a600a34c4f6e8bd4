"""The store's lock for work on images: under it images.json and the layers agree."""

from __future__ import annotations

from minidock import document
from minidock.engine.store.store import StoreLock
from minidock.errors import DamagedFile


class ImagesLock(StoreLock):
    """`with ImagesLock(store):` as StoreLock; an interrupted change of images is settled first."""

    def settle(self) -> None:
        """Complete or undo what a killed process left; a damaged file puts that off."""
        from minidock.engine.image.settle import settle  # seldom needed

        try:
            settle(self._store)
            self.mark(settled=True)
        except DamagedFile as error:  # later, then; who needs that file says so
            document.report_skipped(error)
