"""Detach keys: the keys that end an attachment while the container goes on.

    typed              sent to the container
    Ctrl-P Ctrl-Q      nothing; detached
    Ctrl-P x           nothing, then both: a beginning is withheld until the next key

Source: Docker's documentation of attach, "--detach-keys".
"""

from __future__ import annotations

from minidock.errors import UsageError

_CONTROLS = "abcdefghijklmnopqrstuvwxyz@[\\]^_"


def parse_detach_keys(text: str) -> bytes:
    """Parse a key sequence, such as "ctrl-p,ctrl-q" or "a,b".

    Raises UsageError for an unknown key.
    """
    keys = bytearray()
    for word in text.split(","):
        if len(word) == 1:
            keys += word.encode()
        elif word.startswith("ctrl-") and len(word) == 6 and word[5] in _CONTROLS:
            keys.append(ord(word[5].upper()) & 0x1F)
        else:
            raise UsageError(
                f"invalid detach keys: unknown character: '{word}'",
                hint="write them as ctrl-p,ctrl-q or as single characters: x,y",
            )
    return bytes(keys)


class DetachKeys:
    """Looks for the detach keys in what is typed. typed: whether all of them were.

    keys: from `parse_detach_keys`.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = b""
        self.typed = False

    def strip(self, data: bytes) -> bytes:
        """Return what to send of newly typed data; withholds a beginning of the keys."""
        passed = bytearray()
        for byte in data:
            if byte == self._keys[len(self._matched)]:
                self._matched += bytes([byte])
                if self._matched == self._keys:
                    self.typed = True
                    break
            else:
                passed += self._matched
                self._matched = b""
                if byte == self._keys[0]:
                    self._matched = bytes([byte])
                else:
                    passed.append(byte)
        return bytes(passed)
