"""The text of a container's /etc/hosts and /etc/resolv.conf.

In Docker's form. Values of flags are checked first: a newline in one would add a line of the
caller's choice.

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
NAME_SERVER = "127.0.0.11"  # the address of Docker's embedded DNS server
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"
# systemd-resolved writes its upstream servers here; /etc/resolv.conf names only its stub.
RESOLVED_CONF = "/run/systemd/resolve/resolv.conf"
_RESOLVED_STUB = ["127.0.0.53"]
_FALLBACK = ["8.8.8.8", "8.8.4.4"]  # as in Docker
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
    """Return the text of a container's /etc/hosts.

    hostname: the container's hostname, or several separated by spaces; the first label of a single
    dotted one is added. address: its own, "" for none (--network none); further: its addresses on
    other networks. extra_hosts: "name:address" each, as in HostConfig.ExtraHosts; "host-gateway"
    stands for `gateway`. own_network: False for --network host, which starts from the host's file.
    Raises UsageError for an invalid name or address.
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
    """Return the line of /etc/hosts for the container's own address on one network.

    Raises UsageError for an invalid hostname.
    """
    names = hostname.split()
    for name in names:
        check_hostname(name)
    if len(names) == 1 and "." in hostname:
        names.append(hostname.partition(".")[0])
    return f"{address}\t{' '.join(names)}\n"


def split_extra_host(entry: str) -> tuple[str, str]:
    """Split an --add-host entry, "name:address" or "name=address", into name and address.

    Raises UsageError with Docker's message.
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
    """Raise UsageError for an invalid hostname (hostname(7), 64 characters at most)."""
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
    """Return the text of a container's /etc/resolv.conf: the host's, overridden by flags.

    dns, search, options: --dns, --dns-search ("." alone: none), --dns-option.
    own_network: False for --network host. Otherwise the container cannot reach servers on the
    host's loopback or over IPv6: they are left out.
    use_dns_server: on user-defined networks: name the embedded DNS server instead.
    Raises UsageError for a value that is not valid in this file.
    """
    if own_network:
        conf = _host_conf(host_path, resolved_path)
        conf.servers = [s for s in conf.servers if not _needs_host_network(s)] or _FALLBACK
    else:
        conf = _ResolvConf(host_path, _read(host_path))
    conf.override(dns, search, options)
    header = [f"# Generated by minidock, based on the host's {conf.path}."]
    if use_dns_server:
        upstream = " ".join(conf.servers)
        header.append(f"# {NAME_SERVER} resolves containers; upstream servers: {upstream}")
        conf.use_dns_server()
    return "\n".join([*header, "", *conf.lines(), ""])


def upstream_servers(
    dns: Sequence[str] = (), *, host_path: str = RESOLV_CONF, resolved_path: str = RESOLVED_CONF
) -> list[tuple[str, bool]]:
    """Return the upstream servers of a container's DNS server: (address, whether from the host).

    dns: --dns, queried from the container's network namespace. The host's servers on its loopback
    and over IPv6 can be reached from the host's namespace only.
    """
    if dns:
        return [(_checked_server(server), False) for server in dns]
    servers = _host_conf(host_path, resolved_path).servers or _FALLBACK
    return [(server, _needs_host_network(server)) for server in servers]


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 or IPv6 address."""
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):  # ValueError: a NUL in it
            continue
        return True
    return False


class _ResolvConf:
    """A resolv.conf(5) in parts. Of several lines of search domains, the last wins.

    others: lines that are passed on as they are.
    """

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.servers: list[str] = []
        self.domains: list[str] = []
        self.options: list[str] = []
        self.others: list[str] = []
        for line in text.splitlines():
            self._parse(line)

    def _parse(self, line: str) -> None:
        keyword, *values = line.split() or [""]
        if keyword == "nameserver" and values and is_address(values[0].partition("%")[0]):
            self.servers.append(values[0])
        elif keyword in ("search", "domain"):
            self.domains = values
        elif keyword == "options":
            self.options += values
        elif keyword and keyword[0] not in "#;" and keyword != "nameserver":
            self.others.append(" ".join([keyword, *values]))

    def override(self, dns: Sequence[str], search: Sequence[str], options: Sequence[str]) -> None:
        """Replace the host's values by those of flags. Raises UsageError."""
        if dns:
            self.servers = [_checked_server(server) for server in dns]
        if search:
            self.domains = [_checked_word(name, "--dns-search") for name in search if name != "."]
        if options:
            self.options = [_checked_word(option, "--dns-option") for option in options]

    def use_dns_server(self) -> None:
        """Name the embedded DNS server only, and ask it for a bare name without search domains."""
        self.servers = [NAME_SERVER]
        if not any(option.startswith("ndots:") for option in self.options):
            self.options = [*self.options, "ndots:0"]

    def lines(self) -> list[str]:
        lines = [f"nameserver {server}" for server in self.servers]
        lines += [f"search {' '.join(self.domains)}"] if self.domains else []
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return lines + self.others


def _host_conf(host_path: str, resolved_path: str) -> _ResolvConf:
    """The host's resolv.conf; where it names only the stub of systemd-resolved, the one behind."""
    conf = _ResolvConf(host_path, _read(host_path))
    if conf.servers == _RESOLVED_STUB and (resolved := _read(resolved_path)):
        return _ResolvConf(resolved_path, resolved)
    return conf


def _needs_host_network(server: str) -> bool:
    """Whether a name server is on the host's loopback or has an IPv6 address."""
    return ":" in server or server.startswith("127.")


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
        raise UsageError(f"{flag}: {word!r} is not valid in resolv.conf")
    return word
