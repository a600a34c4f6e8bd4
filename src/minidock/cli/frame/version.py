"""What minidock says of itself: its version, and the Docker API whose names its JSON uses."""

from __future__ import annotations

VERSION = "0.2.0"
API_VERSION = "1.45"
