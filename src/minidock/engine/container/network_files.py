"""/etc/hosts, /etc/hostname and /etc/resolv.conf: written for each start, bound into the container.

They lie outside the image's layers, since they tell of this container only. What changes while it
runs is changed in place, line by line: the rest may be its own by then.
"""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.container.endpoints import has_dns_names
from minidock.engine.network import hosts_file, networks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


_LONGEST_BYTES = 1 << 20


def write_network_files(container: Container, addresses: Sequence[str], *, network: str) -> None:
    """Write the three files.

    addresses: the container's, none where it has none of its own. network: whose gateway is its
    way to the host, "" for none.
    """
    host = container.host_config
    gateway = networks.gateway(container.store, network=network) if network else ""
    hosts = hosts_file.hosts_file(
        fqdn(container),
        addresses[0] if addresses else "",
        host.get("ExtraHosts") or [],
        further=addresses[1:],
        gateway=gateway,
        own_network=has_own_network(container),
    )
    resolv = resolv_conf(container, use_dns_server=has_dns_names(container.document))
    _write(container.paths.hosts, hosts)
    _write(container.paths.hostname, container.config["Hostname"] + "\n")
    _write(container.paths.resolv_conf, resolv)


def add_address(container: Container, address: str) -> None:
    """Add an address that the container has come to have to its /etc/hosts."""
    text = _read(container.paths.hosts)
    if text is None:
        return
    text += "\n" if text and not text.endswith("\n") else ""
    _write(container.paths.hosts, text + hosts_file.own_line(address, fqdn(container)))


def drop_address(container: Container, address: str) -> None:
    """Take an address that the container no longer has out of its /etc/hosts."""
    text = _read(container.paths.hosts)
    if text is not None:
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if line.split()[:1] != [address]]
        _write(container.paths.hosts, "".join(kept))


def enable_name_server(container: Container) -> None:
    """Let the container ask its own name server from now on, unless it has written that file."""
    if _read(container.paths.resolv_conf) == resolv_conf(container, use_dns_server=False):
        _write(container.paths.resolv_conf, resolv_conf(container, use_dns_server=True))


def resolv_conf(container: Container, *, use_dns_server: bool) -> str:
    """The text of its /etc/resolv.conf."""
    host = container.host_config
    return hosts_file.resolv_conf(
        host.get("Dns") or [],
        host.get("DnsSearch") or [],
        host.get("DnsOptions") or [],
        own_network=has_own_network(container),
        use_dns_server=use_dns_server,
    )


def has_own_network(container: Container) -> bool:
    """Whether a container does not share the host's network."""
    return container.host_config.get("NetworkMode") != "host"


def fqdn(container: Container) -> str:
    """A container's hostname, with its domain where it has one."""
    config = container.config
    hostname = str(config["Hostname"])
    return f"{hostname}.{config['Domainname']}" if config.get("Domainname") else hostname


def _read(path: str) -> str | None:
    """A file that the container may have written; None where it made it too long to be read."""
    if os.stat(path).st_size > _LONGEST_BYTES:
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_LONGEST_BYTES)


def _write(path: str, text: str) -> None:
    """In place, since a bind mount holds the inode; readable by the container's users."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(path, 0o644)
