"""What the OCI runtime says of itself. A test holds VERSION equal to the command line's."""

from __future__ import annotations

VERSION = "0.2.0"
OCI_VERSION = "1.2.0"
