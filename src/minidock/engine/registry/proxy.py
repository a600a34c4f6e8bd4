"""The proxy that the environment names: HTTPS_PROXY, HTTP_PROXY, and NO_PROXY for exceptions.

Loopback is never reached through one, whatever the environment says: a proxy has another.

Source: curl(1) "ENVIRONMENT"; urllib.request, which reads these variables for all of Python.
"""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from minidock.engine.registry.settings import host_name


def proxy_for(url: str) -> str:
    """The proxy that the environment names for a URL, or ""."""
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
    """Who we are to a proxy, where its URL says that."""
    from urllib3 import make_headers

    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(make_headers(proxy_basic_auth=pair))
