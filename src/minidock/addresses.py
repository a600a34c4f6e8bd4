"""IP addresses as text."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a NUL in it
            continue
        return True
    return False
