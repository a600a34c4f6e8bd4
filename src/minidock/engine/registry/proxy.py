"""The proxy set in the environment: HTTPS_PROXY, HTTP_PROXY, and NO_PROXY for exceptions.

Loopback addresses are never proxied: for the proxy, they mean its own host.

Source: curl(1) "ENVIRONMENT"; urllib.request, which reads these variables for all of Python.
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from minidock.engine.registry.settings import host_name


def proxy_for(url: str) -> str:
    """The proxy for a URL, or ""."""
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return ""
    from urllib.request import getproxies_environment, proxy_bypass

    parts = urlsplit(url)
    name = host_name(parts.netloc)
    if name == "localhost" or name.startswith("127.") or name == "::1":
        return ""
    if proxy_bypass(parts.netloc):
        return ""
    proxy = getproxies_environment().get(parts.scheme, "")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def proxy_headers(proxy: str) -> dict[str, str]:
    """The Proxy-Authorization header, if the proxy's URL has credentials."""
    from urllib3 import make_headers

    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(make_headers(proxy_basic_auth=pair))
