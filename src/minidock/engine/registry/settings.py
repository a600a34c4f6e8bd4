"""The administrator's settings: mirrors, insecure and blocked registries, certificates.

    /etc/minidock/registries.json       MINIDOCK_CONFIG names another directory than /etc/minidock
        {"registry-mirrors":    ["https://mirror.example"],     asked before docker.io
         "insecure-registries": ["build:5000", "10.0.0.0/8"],   plain http, or any certificate
         "blocked-registries":  ["docker.io"],                  never contacted
         "timeout-seconds":     30}                             read timeout
    /etc/minidock/certs.d/HOST:PORT/    *.crt: CAs trusted for this registry
                                        X.cert with X.key: client certificate

The first two keys are those of Docker's daemon.json, which is read if registries.json is missing;
/etc/docker/certs.d is used too. With MINIDOCK_CONFIG, only that directory is used.

The default is https, with certificates verified by the host's CAs. Plain http is used only with
loopback addresses and insecure registries, and only if certs.d has no CA for them.

Source: docs.docker.com "dockerd" (--insecure-registry, --registry-mirror), "Verify repository
client with certificates"; moby registry/config.go.
"""

from __future__ import annotations

import ipaddress
import os

from minidock import jsontext
from minidock.errors import UsageError
from minidock.oci.reference import DEFAULT_DOMAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

    SettingsFile = TypedDict(
        "SettingsFile",
        {
            "registry-mirrors": list[str] | None,
            "insecure-registries": list[str] | None,
            "blocked-registries": list[str] | None,
            "timeout-seconds": float | None,
        },
        total=False,
    )

DOCKER_HUB = "registry-1.docker.io"  # where docker.io's images are served
_FILE = "registries.json"
_TIMEOUT_SECONDS = 30.0
_LISTS = ("registry-mirrors", "insecure-registries", "blocked-registries")


class Endpoint:
    """A server of a registry.

    host: "name" or "name:port". scheme: "https", "http", or "" for https with a fallback to http.
    verify: whether its certificate is verified.
    is_mirror: a mirror of docker.io, which may lack images.
    """

    def __init__(self, host: str, *, scheme: str, verify: bool, is_mirror: bool = False) -> None:
        self.host = host
        self.scheme = scheme
        self.verify = verify
        self.is_mirror = is_mirror


class Settings:
    """The registry settings of this machine."""

    def __init__(self) -> None:
        own = os.environ.get("MINIDOCK_CONFIG", "")
        self._directories = [own] if own else ["/etc/minidock", "/etc/docker"]
        read = _read(f"{self._directories[0]}/{_FILE}")
        if read is None and not own:
            read = _read("/etc/docker/daemon.json")
        read = read or {}
        self.mirrors = read.get("registry-mirrors") or []
        self.insecure = read.get("insecure-registries") or []
        self.blocked = read.get("blocked-registries") or []
        self.timeout_seconds = float(read.get("timeout-seconds") or _TIMEOUT_SECONDS)

    def endpoints(self, domain: str, *, mirrors: bool = True) -> list[Endpoint]:
        """The servers for a reference's domain, in order of preference.

        mirrors: whether to include those of docker.io; a push excludes them.
        """
        found = []
        if mirrors and domain == DEFAULT_DOMAIN:
            found = [self._mirror(url) for url in self.mirrors]
        if domain not in self.blocked:
            host = DOCKER_HUB if domain == DEFAULT_DOMAIN else domain
            lax = self.is_insecure(host) and not self._has_authority(host)
            found.append(Endpoint(host, scheme="" if lax else "https", verify=not lax))
        return found

    def is_insecure(self, host: str) -> bool:
        """Whether a host may lack a valid certificate: on loopback, or listed as insecure."""
        if host in self.insecure:
            return True
        name = host_name(host)
        if name == "localhost" or name in self.insecure:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or any(address in network for network in self._networks())

    def certificate_directories(self, host: str) -> list[str]:
        """The existing certificate directories of a registry."""
        places = (f"{directory}/certs.d/{host}" for directory in self._directories)
        return [place for place in places if os.path.isdir(place)]

    def _mirror(self, url: str) -> Endpoint:
        scheme, slashes, host = url.rstrip("/").partition("://")
        if not slashes or scheme not in ("http", "https") or not host or "/" in host:
            raise UsageError(
                f"invalid mirror: {url!r} in registry-mirrors",
                hint="a mirror is https://host or http://host:port",
            )
        verify = not self.is_insecure(host) or self._has_authority(host)
        return Endpoint(host, scheme=scheme, verify=verify, is_mirror=True)

    def _has_authority(self, host: str) -> bool:
        directories = self.certificate_directories(host)
        return any(name.endswith(".crt") for place in directories for name in os.listdir(place))

    def _networks(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        return [
            ipaddress.ip_network(entry, strict=False) for entry in self.insecure if "/" in entry
        ]


def host_name(host: str) -> str:
    """A host without its port; an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _read(path: str) -> SettingsFile | None:
    """Read a settings file; None if it does not exist. Raises UsageError."""
    try:
        with open(path, "rb") as file:
            settings: SettingsFile = jsontext.loads(file.read())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"the settings in {path} cannot be read: {error}") from None
    read: Any = settings  # until it was checked
    if not isinstance(read, dict):
        raise UsageError(f"the settings in {path} are not a JSON object")
    for name in _LISTS:
        value = read.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise UsageError(f"{path}: {name} is not a list of strings")
    seconds = read.get("timeout-seconds")
    if seconds is not None and (not isinstance(seconds, int | float) or seconds <= 0):
        raise UsageError(f"{path}: timeout-seconds is not a number of seconds")
    return settings
