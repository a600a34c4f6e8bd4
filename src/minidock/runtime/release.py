"""The versions of the runtime, equal to minidock's own, and of the OCI specification."""

from __future__ import annotations

VERSION = "0.2.0"
OCI_VERSION = "1.2.0"
