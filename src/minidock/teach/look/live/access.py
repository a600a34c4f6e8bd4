"""Who may see the page: the browser that opened the address with its token.

    http://127.0.0.1:PORT/?token=…    one browser, once: it receives a cookie, and is sent to
    http://127.0.0.1:PORT/DIRECTORY/  the page, and all that it asks for: these need the cookie

The page shows what only root may see, and any user of this machine can connect to its loopback. So
the token is random, in no process's arguments, and worthless after its use; then the next address
is printed. The cookie is HttpOnly: scripts do not get it. But a browser sends cookies to any port
of a host: another user's server on loopback would get it. So it belongs to a directory with a
random name. The Host header must be ours: a foreign name that resolves to 127.0.0.1 (DNS
rebinding) is refused. A request that does something must also say which page it comes from:
browsers send an Origin header with each POST.

The cookie is SameSite=Lax, since a file leads the browser here (desktop.py), and Strict would keep
it back after such a navigation. Lax sends it with navigations from elsewhere, not with a POST.

Sources: RFC 6265, sections 5.1.4 and 8.5; its "SameSite" draft; RFC 9110, "Host and :authority";
Fetch, "Origin header".
"""

from __future__ import annotations

import hmac
import secrets
from threading import Lock

from minidock.http_server.connection import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.http_server.connection import Request

ADDRESS = "127.0.0.1"
_HOSTS = (ADDRESS, "localhost")


class Access:
    """The tokens and cookies of one server.

    port: of the server. announce: called with each new address, at once with the first one.
    directory: of the page, such as "/x4Jk…/".
    """

    def __init__(self, port: int, announce: Callable[[str], None]) -> None:
        self._port = port
        self._announce = announce
        self._cookie = f"minidock-look={secrets.token_urlsafe(32)}"
        self.directory = f"/{secrets.token_urlsafe(16)}/"
        self._token = ""
        self._lock = Lock()
        self._renew()

    def admit(self, request: Request) -> str:
        """Use up a token; returns the Set-Cookie header. Raises BadRequest if it is not valid."""
        with self._lock:
            if not hmac.compare_digest(request.query["token"].encode(), self._token.encode()):
                raise BadRequest(403, "this address was used already; the terminal shows a new one")
            self._renew()
        return f"{self._cookie}; HttpOnly; SameSite=Lax; Path={self.directory}"

    def check(self, request: Request) -> None:
        """Raise BadRequest unless the request came to our address, from an admitted browser."""
        cookies = (part.strip() for part in request.headers.get("cookie", "").split(";"))
        wanted = self._cookie.encode()
        if not any(hmac.compare_digest(each.encode(), wanted) for each in cookies):
            raise BadRequest(403, "open the address that `minidock look` printed, with its token")

    def check_host(self, request: Request) -> None:
        """Raise BadRequest for a request to another name, or from the page of another site."""
        hosts = [f"{host}:{self._port}" for host in _HOSTS]
        if request.headers.get("host") not in hosts:
            raise BadRequest(421, f"this server is {hosts[0]}")
        if request.headers.get("origin", f"http://{hosts[0]}") not in [
            f"http://{h}" for h in hosts
        ]:
            raise BadRequest(403, "only this server's own page may ask it")

    def check_origin(self, request: Request) -> None:
        """Raise BadRequest unless the request says that it comes from our page (check_host)."""
        if "origin" not in request.headers:
            raise BadRequest(403, "only this server's own page may ask for this")

    def _renew(self) -> None:
        self._token = secrets.token_urlsafe(24)
        self._announce(f"http://{ADDRESS}:{self._port}/?token={self._token}")
