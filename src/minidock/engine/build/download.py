"""Fetching a file by HTTP: for ADD, and for a context that is a URL.

Redirects are followed, and the host's proxy settings count. Times in Last-Modified are kept, since
the file's own would be that of the build.

Source: docs.docker.com/reference/dockerfile "ADD"; RFC 9110.
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from minidock.engine.registry.http_pace import TooSlow, discard, pace, tls_context
from minidock.errors import MinidockError

_CHUNK = 1 << 18
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 60.0  # of silence, and for all headers
_RETRIES = 3
_REDIRECTS_MAX = 10


class DownloadFailed(MinidockError):
    """A URL that cannot be fetched."""

    exit_code = 1


def download(url: str, folder: str) -> str:
    """Fetch a URL into a new folder; returns the file's path, its name that of the URL.

    Raises DownloadFailed.
    """
    os.mkdir(folder, 0o755)
    path = f"{folder}/{file_name(url)}"
    try:
        with open(path, "wb") as file:
            modified_seconds = _fetch(url, file.fileno())
            os.fchmod(file.fileno(), 0o600)
    except HTTPError as error:
        raise DownloadFailed(f"failed to fetch {url}: {_reason(error)}") from None
    os.utime(path, (modified_seconds, modified_seconds))
    return path


def file_name(url: str) -> str:
    """The last part of a URL's path, "download" where there is none."""
    return os.path.basename(unquote(urlsplit(url).path)) or "download"


def _fetch(url: str, fd: int) -> float:
    """Write what a URL holds to a descriptor; returns when it was last changed."""
    timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS)
    retries = urllib3.Retry(_RETRIES, read=0)
    current = url
    for _ in range(_REDIRECTS_MAX + 1):
        with _pool(current) as pool:
            response = pool.request(
                "GET",
                current,
                preload_content=False,
                timeout=timeout,
                redirect=False,
                retries=retries,
            )
            if location := response.get_redirect_location():
                discard(response)
                current = _redirect_url(url, current, location)
                continue
            if response.status != 200:
                raise DownloadFailed(f"failed to fetch {url}: the server answers {response.status}")
            for chunk in response.stream(_CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
            return _modified_seconds(response.headers.get("Last-Modified", ""))
    raise DownloadFailed(f"failed to fetch {url}: stopped after {_REDIRECTS_MAX} redirects")


def _redirect_url(url: str, base: str, location: str) -> str:
    """Where a redirect leads."""
    try:
        joined = urljoin(base, location)
        if urlsplit(joined).scheme in ("http", "https"):
            return joined
    except ValueError:  # "[" without "]"
        pass
    raise DownloadFailed(f"failed to fetch {url}: it redirects to {location!r}")


def _pool(url: str) -> urllib3.PoolManager:
    """Connections by the host's proxy, if it has one for this URL."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return pace(
            urllib3.ProxyManager(proxy, ssl_context=tls_context(), proxy_ssl_context=tls_context())
        )
    return pace(urllib3.PoolManager(ssl_context=tls_context()))


def _modified_seconds(text: str) -> float:
    """A date of HTTP in seconds since 1970, 0 where there is none."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _reason(error: HTTPError) -> str:
    """The last of what went wrong, without urllib3's names around it."""
    reason = getattr(error, "reason", None) or error
    if isinstance(slow := getattr(reason, "__cause__", None), TooSlow):
        return f"the server is too slow: {slow}"
    return str(reason).rpartition(": ")[2] or str(error)
