"""Read a registry's responses within limits, and parse its errors.

    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": …}]}

Source: OCI distribution-spec "Error Codes"; github.com/distribution/distribution
registry/api/errcode for the format of Docker's client: "manifest unknown: manifest unknown".
"""

from __future__ import annotations

import http
import threading

from minidock import jsontext
from minidock.engine.registry.transport import Interrupted, end, printable, read_some
from minidock.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse as Response

CONTENT_SECONDS = 120.0  # for a document
_CONTENT_MAX = 4 << 20  # the largest manifest that registries accept


class Refused(RegistryError):
    """The registry responded with an error.

    status: the HTTP status. codes: the registry's own, such as "MANIFEST_UNKNOWN".
    """

    def __init__(
        self, message: str, *, status: int, codes: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.codes = codes


def read_content(response: Response, *, limit: int = _CONTENT_MAX) -> bytes:
    """Read the whole content of a response. Raises Interrupted; RegistryError if it is too long.

    A server that sends single bytes avoids each read timeout, so a timer limits the total time.
    """
    timer = threading.Timer(CONTENT_SECONDS, end, (response,))
    timer.daemon = True
    timer.start()
    content = b""
    try:
        while more := read_some(response, limit + 1 - len(content), 0):
            content += more
            if len(content) > limit:
                response.close()
                raise RegistryError(f"the registry's answer is larger than {limit >> 20} MiB")
    finally:
        is_late = timer.finished.is_set()
        timer.cancel()
    if is_late:
        raise RegistryError(f"the registry's answer took longer than {CONTENT_SECONDS:g} s")
    response.release_conn()
    return content


def refused_error(response: Response, content: bytes) -> Refused:
    """The error for a response with an unexpected status."""
    codes = tuple(code for code, _ in _errors(content))
    return Refused(error_message(response, content), status=response.status, codes=codes)


def error_message(response: Response, content: bytes) -> str:
    """The error message of a response: the registry's, else that of the HTTP status."""
    lines = [f"{code.lower().replace('_', ' ')}: {message}" for code, message in _errors(content)]
    if lines:
        return "\n".join(lines)
    try:
        phrase = http.HTTPStatus(response.status).phrase
    except ValueError:
        phrase = ""
    status = f"{response.status} {phrase}".rstrip()
    if response.status == 401:
        return "unauthorized: authentication required"
    return f"received unexpected HTTP status: {status}"


def drain(response: Response) -> bytes:
    """Read the content of a response; returns b"" instead of raising an error."""
    try:
        return read_content(response)
    except (Interrupted, RegistryError):
        return b""


def _errors(content: bytes) -> list[tuple[str, str]]:
    """Code and message of each error, of a registry or a token server."""
    try:
        document = jsontext.loads(content)
    except (ValueError, RecursionError):
        return []
    if not isinstance(document, dict):
        return []
    listed = document.get("errors")
    found = []
    for entry in listed if isinstance(listed, list) else []:
        if isinstance(entry, dict) and isinstance(code := entry.get("code"), str):
            message = entry.get("message")
            found.append((printable(code), printable(message or code)))
    if not found and isinstance(details := document.get("details"), str):
        found.append(("unauthorized", printable(details)))
    return found
