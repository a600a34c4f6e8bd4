"""/etc/hosts, /etc/hostname and /etc/resolv.conf: written for each start, bound into the container.

They lie outside the image's layers, since they tell of this container only.
"""

from __future__ import annotations

import os

from minidock.engine.container.containers import Container
from minidock.engine.network import names, networks


def write_network_files(container: Container, address: str) -> None:
    """Write the three files. address: the container's, or "" where it has none of its own."""
    host, config = container.host_config, container.config
    hostname = config["Hostname"]
    own_network = host.get("NetworkMode") != "host"
    full = f"{hostname}.{config['Domainname']}" if config.get("Domainname") else hostname
    gateway = networks.gateway(container.store) if address else ""
    hosts = names.hosts_file(
        full, address, host.get("ExtraHosts") or [], gateway=gateway, own_network=own_network
    )
    resolv = names.resolv_conf(
        host.get("Dns") or [],
        host.get("DnsSearch") or [],
        host.get("DnsOptions") or [],
        own_network=own_network,
    )
    _write(container.paths.hosts, hosts)
    _write(container.paths.hostname, hostname + "\n")
    _write(container.paths.resolv_conf, resolv)


def _write(path: str, text: str) -> None:
    """In place, since a bind mount holds the inode; readable by the container's users."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, 0o644)
