"""HTTP transport to a registry: connections, redirects, proxies, TLS, and errors.

    reach      test a TCP connection within five seconds
    send       send one request and follow redirects; every failure is a RegistryError

Three classes of errors lead to different reactions:

    Unreachable    no server, or a wrong certificate: try another server
    Interrupted    the response broke off, stalled or was too slow: retry the same server
    RegistryError  the server refused: give up

A redirect to another server (a blob store) gets no Authorization header, and a redirect from https
to http is refused. The host's proxy settings (HTTPS_PROXY, NO_PROXY) apply, except to loopback
addresses.

Source: RFC 9110, RFC 9112; urllib3's user guide; OCI distribution-spec v1.1.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import weakref
from http.client import HTTPException
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ReadTimeoutError
from urllib3.exceptions import SSLError as PoolSSLError

from minidock.engine.registry.http_pace import TooSlow, discard, pace, tls_context
from minidock.engine.registry.proxy import proxy_for, proxy_headers
from minidock.engine.registry.reachability import reach
from minidock.engine.registry.settings import Endpoint, Settings
from minidock.errors import RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from urllib3 import BaseHTTPResponse as Response

    Body = bytes | Iterable[bytes]

CONNECT_SECONDS = 5.0
_REDIRECTS_MAX = 5
_CONNECTIONS = 4
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_AGENT = "minidock"
_SHOWN_MAX = 300
_URL_MAX = 8192


class Unreachable(RegistryError):
    """The server is unreachable, or its certificate is invalid."""


class Interrupted(RegistryError):
    """A response broke off, timed out or was too slow."""


class Transport:
    """Persistent connections to a registry and to the servers it refers to."""

    def __init__(self, settings: Settings, endpoint: Endpoint) -> None:
        self._settings = settings
        self._endpoint = endpoint
        self._pools: dict[tuple[str, bool], urllib3.PoolManager] = {}
        self._reached: set[str] = set()
        self._responses: weakref.WeakSet[Response] = weakref.WeakSet()

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        body: Body | None = None,
    ) -> Response:
        """Send one request; returns the response with any status, its content unread.

        Raises Unreachable, Interrupted.
        """
        headers = {"User-Agent": _AGENT, **(headers or {})}
        check_url(url)
        for _ in range(_REDIRECTS_MAX + 1):
            response = self._send_once(method, url, headers, body)
            location = response.headers.get("Location")
            if method not in ("GET", "HEAD") or response.status not in _REDIRECTS or not location:
                return response
            discard(response)
            headers, url = _redirected(url, resolve_url(url, location), headers)
        raise RegistryError(f'{method} "{url}": stopped after {_REDIRECTS_MAX} redirects')

    def interrupt(self) -> None:
        """Shut down all responses that are being read, in all threads."""
        for response in list(self._responses):
            end(response)

    def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.clear()

    def _send_once(
        self, method: str, url: str, headers: dict[str, str], body: Body | None
    ) -> Response:
        request_text = f'{method.capitalize()} "{printable(url)}"'
        proxy = proxy_for(url)
        self._reach(proxy or url, request_text)
        try:
            response = self._pool(url, proxy).request(
                method,
                url,
                headers=headers,
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
            self._responses.add(response)
            return response
        except (PoolSSLError, ssl.SSLError) as error:
            raise _tls_error(request_text, urlsplit(url).netloc, error) from None
        except ReadTimeoutError as error:
            if isinstance(slow := error.__cause__, TooSlow):
                raise Interrupted(f"{request_text}: {slow}") from None
            raise Interrupted(
                f"{request_text}: no answer for {self._settings.timeout_seconds:g} s",
                hint="the registry has stalled; try again later",
            ) from None
        except (HTTPError, OSError, HTTPException, ValueError) as error:
            if isinstance(inner := _cause(error), ssl.SSLError):
                raise _tls_error(request_text, urlsplit(url).netloc, inner) from None
            raise Interrupted(f"{request_text}: {_reason(error)}") from None

    def _reach(self, url: str, request_text: str) -> None:
        """Test each server once for reachability, with a short timeout."""
        parts = urlsplit(url)
        if parts.netloc in self._reached:
            return
        try:
            port = parts.port or _PORTS[parts.scheme]
            reach(parts.hostname or "", port, seconds=CONNECT_SECONDS)
        except (OSError, ValueError, KeyError) as error:
            raise Unreachable(f"{request_text}: {_reason(error)}") from None
        self._reached.add(parts.netloc)

    def _pool(self, url: str, proxy: str) -> urllib3.PoolManager:
        own = urlsplit(url).netloc == self._endpoint.host
        loopback = self._settings.is_insecure(urlsplit(url).netloc)
        verify = self._endpoint.verify if own else not loopback
        key = (proxy, verify)
        if key not in self._pools:
            timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=self._settings.timeout_seconds)
            context = self._context(verify=verify)
            if proxy:
                pools: urllib3.PoolManager = urllib3.ProxyManager(
                    proxy,
                    proxy_headers=proxy_headers(proxy),
                    maxsize=_CONNECTIONS,
                    timeout=timeout,
                    ssl_context=context,
                    proxy_ssl_context=tls_context(),
                )
            else:
                pools = urllib3.PoolManager(
                    maxsize=_CONNECTIONS, timeout=timeout, ssl_context=context
                )
            self._pools[key] = pace(pools)
        return self._pools[key]

    def _context(self, *, verify: bool) -> ssl.SSLContext:
        """A TLS context: CAs of the host and of this registry, and its client certificate."""
        context = tls_context()
        if not verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for directory in self._settings.certificate_directories(self._endpoint.host):
            for name in sorted(os.listdir(directory)):
                path = f"{directory}/{name}"
                try:
                    if name.endswith(".crt"):
                        context.load_verify_locations(path)
                    elif name.endswith(".cert"):
                        context.load_cert_chain(path, path.removesuffix(".cert") + ".key")
                except OSError as error:  # ssl.SSLError among them
                    raise RegistryError(f"cannot use the certificate {path}: {error}") from None
        return context


def check_url(url: str) -> None:
    """Raise RegistryError for anything but a valid http or https URL with a host."""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # "[" without "]", a port of 99999
        is_url = False
    if not is_url or len(url) > _URL_MAX or any(c <= " " or c == "\x7f" for c in url):
        raise RegistryError(
            f"the registry refers to {printable(url)!r}, which is not a valid http or https URL"
        )


def resolve_url(base: str, place: str) -> str:
    """Resolve a URL reference of a response. Raises RegistryError for an invalid one."""
    try:
        url = urljoin(base, place)
    except ValueError:
        url = place
    check_url(url)
    return url


def end(response: Response) -> None:
    """Shut down a response that another thread may be reading."""
    with contextlib.suppress(ValueError, RuntimeError, OSError):  # read completely already
        if hasattr(response, "shutdown"):
            response.shutdown()
        elif sock := getattr(response.connection, "sock", None):  # before urllib3 2.3
            sock.shutdown(socket.SHUT_RD)


def printable(text: object) -> str:
    """An external text, shortened, with control characters replaced."""
    return "".join(c if c.isprintable() else " " for c in str(text))[:_SHOWN_MAX]


def read_some(response: Response, size: int, seconds: float) -> bytes:
    """Up to `size` bytes of a response's content, b"" at its end. Raises Interrupted.

    seconds: the read timeout, for the error message; 0 if unknown.
    """
    try:
        return response.read(size, decode_content=False)
    except ReadTimeoutError as error:
        if isinstance(slow := error.__cause__, TooSlow):
            raise Interrupted(f"the registry is too slow: {slow}") from None
        silence = f" for {seconds:g} s" if seconds else ""
        raise Interrupted(f"the registry has sent nothing{silence}") from None
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        raise Interrupted(f"the registry broke off: {_reason(error)}") from None


def _redirected(old: str, new: str, headers: dict[str, str]) -> tuple[dict[str, str], str]:
    """The headers and the URL of a redirected request."""
    before, after = urlsplit(old), urlsplit(new)
    if after.scheme not in _PORTS or (before.scheme, after.scheme) == ("https", "http"):
        raise RegistryError(f"{printable(old)} redirects to {printable(new)}, which is not https")
    if before.netloc != after.netloc:
        headers = {k: v for k, v in headers.items() if k.lower() != "authorization"}
    return headers, new


def _tls_error(request_text: str, host: str, error: Exception) -> Unreachable:
    inner = _cause(error)
    if isinstance(inner, ssl.SSLCertVerificationError):
        return Unreachable(
            f"{request_text}: tls: failed to verify certificate: {inner.verify_message}",
            hint=f"put the certificate of its CA into /etc/docker/certs.d/{host}/ca.crt",
        )
    reason = str(getattr(inner, "reason", "") or inner)
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return Unreachable(
            f"{request_text}: http: server gave HTTP response to HTTPS client",
            hint=f'"insecure-registries": ["{host}"] in /etc/minidock/registries.json allows http',
        )
    return Unreachable(f"{request_text}: tls: {reason.lower().replace('_', ' ')}")


def _cause(error: BaseException) -> BaseException:
    """The innermost error of a chain of urllib3 exceptions."""
    for _ in range(8):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or error.__context__
        if isinstance(error, ssl.SSLError) or inner is None:
            break
        error = inner
    return error


def _reason(error: BaseException) -> str:
    """The short message of the innermost error."""
    inner = _cause(error)
    if isinstance(inner, socket.gaierror):
        return f"lookup: {inner.strerror}"
    if isinstance(inner, TimeoutError):
        return "i/o timeout"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return str(inner) or type(inner).__name__
