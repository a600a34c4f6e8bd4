"""The version of minidock, and the version of the Docker API that its JSON follows."""

from __future__ import annotations

VERSION = "0.2.0"
API_VERSION = "1.45"
