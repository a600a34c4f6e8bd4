"""References: the names of images.

    localhost:5000/team/app:1.2@sha256:...
    └───domain───┘ └─path─┘ └tag┘ └digest┘

Missing parts have defaults: the domain docker.io, its path prefix library, the tag latest. So
"busybox" is docker.io/library/busybox:latest, and is shown as "busybox:latest": the *familiar*
form, in which minidock stores and prints names.

The grammar is checked character by character, because importing Python's `re` takes longer than all
other steps of finding an image.

Source: github.com/distribution/reference, reference.go and normalize.go.
"""

from __future__ import annotations

from minidock.errors import UsageError
from minidock.numerals import is_decimal
from minidock.oci.digest import is_digest, is_hex

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
_LOWER = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_ALNUM = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_IPV6 = frozenset("0123456789abcdefABCDEF:")
_TAG = _ALNUM | frozenset("_.-")
_NAME_LENGTH_MAX = 255
_TAG_LENGTH_MAX = 128


class Reference:
    """A parsed name of an image.

    domain: such as "docker.io" or "localhost:5000"; path: such as "library/busybox".
    tag, digest: "" if missing.
    """

    def __init__(self, domain: str, path: str, tag: str = "", digest: str = "") -> None:
        self.domain = domain
        self.path = path
        self.tag = tag
        self.digest = digest

    @property
    def familiar_name(self) -> str:
        """Return the name without tag and digest, in its familiar form, such as "busybox"."""
        if self.domain != DEFAULT_DOMAIN:
            return f"{self.domain}/{self.path}"
        return self.path.removeprefix("library/")

    @property
    def familiar(self) -> str:
        """Return the whole reference in its familiar form, such as "busybox:latest"."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return self.familiar_name + tag + digest

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.domain}/{self.path}{tag}{digest}"

    def with_default_tag(self) -> Reference:
        """Return this reference, with the tag latest if it has neither tag nor digest."""
        if self.tag or self.digest:
            return self
        return Reference(self.domain, self.path, DEFAULT_TAG)


def parse(text: str) -> Reference:
    """Parse a reference as a user writes it.

    Raises UsageError with Docker's message: "invalid reference format".
    """
    if len(text) == 64 and is_hex(text):
        raise UsageError(
            f"invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
        )
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise UsageError("invalid reference format", hint="a digest is sha256:<64 hex digits>")
    name, tag = _split_tag(name)
    domain, path = _split_domain(name)
    if path != path.lower():
        raise UsageError(f"invalid reference format: repository name ({path}) must be lowercase")
    if not (_is_domain(domain) and path and all(map(_is_path_component, path.split("/")))):
        raise UsageError("invalid reference format", hint="a name looks like busybox or team/app:1")
    if len(domain) + 1 + len(path) > _NAME_LENGTH_MAX:
        raise UsageError(f"repository name must not be more than {_NAME_LENGTH_MAX} characters")
    return Reference(domain, path, tag, digest)


def parse_tagged(text: str) -> Reference:
    """Parse a reference with a tag, latest by default; UsageError for a digest."""
    reference = parse(text)
    if reference.digest:
        raise UsageError("refusing to create a tag with a digest reference")
    return reference.with_default_tag()


def _split_tag(name: str) -> tuple[str, str]:
    """Split name and tag; a colon before the last slash belongs to a port."""
    colon = name.rfind(":")
    if colon <= name.rfind("/"):
        return name, ""
    tag = name[colon + 1 :]
    valid = 0 < len(tag) <= _TAG_LENGTH_MAX and _TAG.issuperset(tag) and tag[0] not in ".-"
    if not valid:
        raise UsageError(
            "invalid reference format",
            hint="a tag has letters, digits, dots, dashes and underscores, 128 at most",
        )
    return name[:colon], tag


def _split_domain(name: str) -> tuple[str, str]:
    """Split domain and path; the first part is a domain if it has a dot, a colon or capitals."""
    first, slash, rest = name.partition("/")
    is_domain = slash and (
        "." in first or ":" in first or first == "localhost" or first.lower() != first
    )
    domain, path = (first, rest) if is_domain else (DEFAULT_DOMAIN, name)
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and path and "/" not in path:
        path = "library/" + path
    return domain, path


def _is_domain(domain: str) -> bool:
    """Whether it is a host name, an IPv4 or [IPv6] address, with or without a port."""
    host = domain
    colon = domain.rfind(":")
    if colon > domain.rfind("]"):
        host, port = domain[:colon], domain[colon + 1 :]
        if not is_decimal(port):
            return False
    if host.startswith("[") and host.endswith("]"):
        return bool(host[1:-1]) and _IPV6.issuperset(host[1:-1])
    return all(
        part and _ALNUM.issuperset(part.replace("-", "")) and "-" not in (part[0], part[-1])
        for part in host.split(".")
    )


def _is_path_component(part: str) -> bool:
    """Whether it is runs of [a-z0-9], joined by one dot, one or two underscores, or dashes."""
    if not part or part[0] not in _LOWER or part[-1] not in _LOWER:
        return False
    separator = ""
    for character in part:
        if character in _LOWER:
            if separator not in ("", ".", "_", "__") and separator.strip("-"):
                return False
            separator = ""
        elif character in "._-":
            separator += character
        else:
            return False
    return True
