"""/etc/hosts, /etc/hostname and /etc/resolv.conf: written at each start, and bind mounted.

They are not in the image's layers, since they belong to this container. Changes while it runs edit
single lines in place: the container may have edited the others.
"""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.container.network_aliases import has_dns_names
from minidock.engine.network import hosts_file, networks, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


_LONGEST_BYTES = 1 << 20


def write_network_files(container: Container, addresses: Sequence[str], *, network: str) -> None:
    """Write the three files.

    addresses: the container's, if it has its own. network: its gateway leads to the host; "" for
    none.
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
    resolv = resolv_conf_of(container, use_dns_server=has_dns_names(container.document))
    _write(container.paths.hosts, hosts)
    _write(container.paths.hostname, container.config["Hostname"] + "\n")
    _write(container.paths.resolv_conf, resolv)


def add_address(container: Container, address: str) -> None:
    """Add a new address of the container to its /etc/hosts."""
    text = _read(container.paths.hosts)
    if text is None:
        return
    text += "\n" if text and not text.endswith("\n") else ""
    _write(container.paths.hosts, text + hosts_file.own_line(address, fqdn(container)))


def drop_address(container: Container, address: str) -> None:
    """Remove an address that the container no longer has from its /etc/hosts."""
    text = _read(container.paths.hosts)
    if text is not None:
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if line.split()[:1] != [address]]
        _write(container.paths.hosts, "".join(kept))


def enable_name_server(container: Container) -> None:
    """Make the container use its DNS server from now on, unless it has edited resolv.conf."""
    if _read(container.paths.resolv_conf) == resolv_conf_of(container, use_dns_server=False):
        _write(container.paths.resolv_conf, resolv_conf_of(container, use_dns_server=True))


def resolv_conf_of(container: Container, *, use_dns_server: bool) -> str:
    """Return the text of its /etc/resolv.conf."""
    host = container.host_config
    return resolv_conf.resolv_conf(
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
    """Return a container's hostname, with its domain if any."""
    config = container.config
    hostname = str(config["Hostname"])
    return f"{hostname}.{config['Domainname']}" if config.get("Domainname") else hostname


def _read(path: str) -> str | None:
    """Read a file that the container may have written; None if it is too large."""
    if os.stat(path).st_size > _LONGEST_BYTES:
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(_LONGEST_BYTES)


def _write(path: str, text: str) -> None:
    """Write in place, since a bind mount refers to the inode; readable by the container's users."""
    with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    os.chmod(path, 0o644)
