"""The files by which a container knows names: /etc/hosts and /etc/resolv.conf.

Pure text, in Docker's form. Whatever comes from a flag is checked before it becomes part of a line:
a value with a newline in it would be a line of its own, and of its author's choosing.

Sources: hosts(5), resolv.conf(5), hostname(7), Docker's libnetwork/resolvconf (behaviour),
systemd-resolved.service(8) "/etc/resolv.conf".
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

from minidock.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

HOST_GATEWAY = "host-gateway"
NAME_SERVER = "127.0.0.11"  # Docker's: what answers a container's questions for names
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
# Where systemd-resolved writes whom it asks itself, while /etc/resolv.conf names only it.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_RESOLVED_STUB = ["127.0.0.53"]
_FALLBACK = ["8.8.8.8", "8.8.4.4"]  # as Docker: a container without any server is worse off
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
_LOCALHOST = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
ff00::0\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def hosts_file(
    hostname: str,
    address: str,
    extra_hosts: Sequence[str] = (),
    *,
    further: Sequence[str] = (),
    gateway: str = "",
    own_network: bool = True,
    host_path: str = HOSTS,
) -> str:
    """The text of a container's /etc/hosts.

    hostname: the container's name, or several, separated by blanks; the first label of a single
    dotted name counts as one more. address: its own, "" where it has none (--network none);
    further: those that it has on other networks.
    extra_hosts: "name:address" each, as HostConfig.ExtraHosts has them; "host-gateway" stands for
    `gateway`. own_network: False where the host's network is shared, and so are its names.
    Raises UsageError for a name or an address that is none.
    """
    text = _LOCALHOST if own_network else _read(host_path)
    text += "\n" if text and not text.endswith("\n") else ""
    for entry in extra_hosts:
        name, target = split_extra_host(entry)
        if target == HOST_GATEWAY:
            if not gateway:
                raise UsageError(
                    f"unable to derive the IP value for {HOST_GATEWAY}",
                    hint="this container's network has no gateway; give the address itself",
                )
            target = gateway
        text += f"{target}\t{name}\n"
    for own in [address, *further] if address else []:
        text += own_line(own, hostname)
    return text


def own_line(address: str, hostname: str) -> str:
    """The line of a container's /etc/hosts that tells its own address on one network.

    Raises UsageError for what cannot be a host's name.
    """
    names = hostname.split()
    for name in names:
        check_hostname(name)
    if len(names) == 1 and "." in hostname:
        names.append(hostname.partition(".")[0])
    return f"{address}\t{' '.join(names)}\n"


def split_extra_host(entry: str) -> tuple[str, str]:
    """An --add-host entry, "name:address" or "name=address", as name and address.

    Raises UsageError in the words of Docker.
    """
    separator = "=" if "=" in entry else ":"
    name, found, target = entry.partition(separator)
    if not found or not name:
        raise UsageError(f"bad format for add-host: {entry!r}", hint="--add-host name:address")
    if not _NAME.issuperset(name):
        raise UsageError(
            f"invalid host name in add-host: {name!r}",
            hint="a name has letters, digits, dots, dashes and underscores only",
        )
    if target.startswith("[") and target.endswith("]"):
        target = target[1:-1]
    if target != HOST_GATEWAY and not is_address(target):
        raise UsageError(f"invalid IP address in add-host: {target!r}")
    return name, target


def check_hostname(hostname: str) -> None:
    """Raise UsageError for what cannot be a host's name (hostname(7), 64 characters at most)."""
    labels = hostname.split(".")
    shaped = all(label and label[0] != "-" and label[-1] != "-" for label in labels)
    if not shaped or not _NAME.issuperset(hostname) or len(hostname) > 64:
        raise UsageError(
            f"invalid hostname: {hostname!r}",
            hint="up to 64 letters, digits, dashes and dots; no dash at either end of a part",
        )


def resolv_conf(
    dns: Sequence[str] = (),
    search: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    own_network: bool = True,
    use_dns_server: bool = False,
    host_path: str = RESOLV_CONF,
    resolved_path: str = RESOLVED_CONF,
) -> str:
    """The text of a container's /etc/resolv.conf: the host's, with what was asked for put over it.

    dns, search, options: --dns, --dns-search ("." alone: none), --dns-option.
    own_network: the container does not share the host's network, so that servers on the host's
    loopback, and those of IPv6, cannot be reached from it; they are left out.
    use_dns_server: it is on a user's network: the server of its names asks the others for it.
    Raises UsageError for a value that cannot stand in such a file.
    """
    servers, domains, settings, others = _parse(_read(host_path))
    if servers == _RESOLVED_STUB and own_network and (resolved := _read(resolved_path)):
        host_path = resolved_path
        servers, domains, settings, others = _parse(resolved)
    if own_network:
        reachable = [s for s in servers if ":" not in s and not s.startswith("127.")]
        servers = reachable or _FALLBACK
    if dns:
        servers = [_checked_server(server) for server in dns]
    if search:
        domains = [_checked_word(domain, "--dns-search") for domain in search if domain != "."]
    if options:
        settings = [_checked_word(option, "--dns-option") for option in options]
    lines = [f"# Generated by minidock, based on the host's {host_path}."]
    if use_dns_server:
        lines += [f"# {NAME_SERVER} knows the containers, and asks: {' '.join(servers)}"]
        servers = [NAME_SERVER]
        if not any(option.startswith("ndots:") for option in settings):
            settings = [*settings, "ndots:0"]  # a container's bare name is asked for as it is
    lines += ["", *(f"nameserver {server}" for server in servers)]
    lines += [f"search {' '.join(domains)}"] if domains else []
    lines += [f"options {' '.join(settings)}"] if settings else []
    return "\n".join([*lines, *others, ""])


def upstream_servers(
    dns: Sequence[str] = (), *, host_path: str = RESOLV_CONF, resolved_path: str = RESOLVED_CONF
) -> list[tuple[str, bool]]:
    """Whom a container's name server asks: (address, whether it must be asked from the host).

    dns: --dns, asked from inside, as the container itself would. Of the host's own servers those
    on its loopback, and those of IPv6, can be reached from there only.
    """
    if dns:
        return [(_checked_server(server), False) for server in dns]
    servers = _parse(_read(host_path))[0]
    if servers == _RESOLVED_STUB and (resolved := _read(resolved_path)):
        servers = _parse(resolved)[0]
    servers = servers or list(_FALLBACK)
    return [(server, ":" in server or server.startswith("127.")) for server in servers]


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a NUL in it
            continue
        return True
    return False


def _parse(text: str) -> tuple[list[str], list[str], list[str], list[str]]:
    """A resolv.conf as (servers, search domains, options, other lines); the last search counts."""
    servers: list[str] = []
    domains: list[str] = []
    options: list[str] = []
    others: list[str] = []
    for line in text.splitlines():
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and is_address(values[0].partition("%")[0]):
            servers.append(values[0])
        elif keyword in ("search", "domain"):
            domains = values
        elif keyword == "options":
            options += values
        elif keyword and keyword[0] not in "#;" and keyword != "nameserver":
            others.append(" ".join([keyword, *values]))
    return servers, domains, options, others


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _checked_server(server: str) -> str:
    if not is_address(server):
        raise UsageError(f"IP address is not correctly formatted: {server!r}", hint="--dns 9.9.9.9")
    return server


def _checked_word(word: str, flag: str) -> str:
    if not word or not word.isprintable() or " " in word or word[0] in "#;":
        raise UsageError(f"{flag}: {word!r} cannot stand in a resolv.conf")
    return word
