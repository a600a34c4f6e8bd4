"""Download a file by HTTP, for ADD and for a build context that is a URL.

Follows redirects and uses the host's proxy settings. The file's modification time is that of the
Last-Modified header, not that of the build.

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
_READ_SECONDS = 60.0  # for each read, and for all headers
_RETRIES = 3
_REDIRECTS_MAX = 10


class DownloadFailed(MinidockError):
    """A URL that could not be downloaded."""

    exit_code = 1


def download(url: str, folder: str) -> str:
    """Download a URL into a new directory; returns the path of the file, named as in the URL.

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
    """The last component of a URL's path, or "download"."""
    return os.path.basename(unquote(urlsplit(url).path)) or "download"


def _fetch(url: str, fd: int) -> float:
    """Write the content of a URL to a descriptor; returns its modification time."""
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
    """The absolute URL of a redirect. Raises DownloadFailed unless it is http or https."""
    try:
        joined = urljoin(base, location)
        if urlsplit(joined).scheme in ("http", "https"):
            return joined
    except ValueError:  # "[" without "]"
        pass
    raise DownloadFailed(f"failed to fetch {url}: it redirects to {location!r}")


def _pool(url: str) -> urllib3.PoolManager:
    """A connection pool, through the host's proxy if one is set for this URL."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return pace(
            urllib3.ProxyManager(proxy, ssl_context=tls_context(), proxy_ssl_context=tls_context())
        )
    return pace(urllib3.PoolManager(ssl_context=tls_context()))


def _modified_seconds(text: str) -> float:
    """An HTTP date in seconds since 1970, 0 for none."""
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return 0.0


def _reason(error: HTTPError) -> str:
    """The cause of an error, without the names that urllib3 puts before it."""
    reason = getattr(error, "reason", None) or error
    if isinstance(slow := getattr(reason, "__cause__", None), TooSlow):
        return f"the server is too slow: {slow}"
    return str(reason).rpartition(": ")[2] or str(error)
