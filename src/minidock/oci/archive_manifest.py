"""Documents of image archives: Docker's manifest.json, and OCI's index and manifests.

    docker save          manifest.json      [{"Config": path, "RepoTags": [...], "Layers": [path…]}]
    OCI image layout     index.json ──▶ (index ──▶) manifest ──▶ config, layers    all by digest

Docker 25 and later write both to one archive, with the same blobs. `from_docker` and `from_oci`
return the same list: for each image its config, layers and names. Nothing here opens a file: the
caller passes a function that reads a member of the archive.

Sources: moby image/spec/v1.2.md; OCI image-spec image-layout.md, image-index.md, manifest.md,
annotations.md; containerd's annotation io.containerd.image.name.
"""

from __future__ import annotations

from minidock.errors import ArchiveError, UsageError
from minidock.oci import reference
from minidock.oci.digest import PREFIX, is_digest, sha256
from minidock.oci.image_config import JSON_BYTES_MAX, host_architecture, load_json
from minidock.oci.manifest import ACCEPTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from minidock.document_types.image import Descriptor

    ReadMember = Callable[[str], bytes]  # name -> content; ArchiveError if it is not a file

NAME = "io.containerd.image.name"
REF_NAME = "org.opencontainers.image.ref.name"
_INDEX_DEPTH_MAX = 8


class ArchivedImage:
    """One image of an archive.

    config: its bytes. names: familiar references. parent: an image id or "".
    layers: (member name, its required digest or ""), lowest first.
    """

    def __init__(
        self, config: bytes, layers: list[tuple[str, str]], names: list[str], parent: str = ""
    ) -> None:
        self.config = config
        self.layers = layers
        self.names = names
        self.parent = parent


def from_docker(read: ReadMember) -> list[ArchivedImage]:
    """Return the images that manifest.json lists."""
    manifest = load_json(read("manifest.json"), what="manifest.json")
    if isinstance(manifest, dict) and "layers" in manifest:
        raise ArchiveError(
            "this is a directory in skopeo's dir: format, not an image archive",
            hint="skopeo copy dir:FOLDER docker-archive:IMAGE.tar",
        )
    if not isinstance(manifest, list) or not all(isinstance(item, dict) for item in manifest):
        raise ArchiveError("manifest.json is not a list of objects")
    images = []
    for item in manifest:
        config_name = item.get("Config")
        layers = _texts(item.get("Layers"), "manifest.json: Layers")
        tags = _texts(item.get("RepoTags"), "manifest.json: RepoTags")
        if not isinstance(config_name, str):
            raise ArchiveError("manifest.json names no Config for an image")
        config = read(config_name)
        expected = _digest_in_name(config_name)
        if expected and sha256(config) != expected:
            raise ArchiveError(f"the digest of {config_name} does not match its name")
        parent = item.get("Parent")
        images.append(
            ArchivedImage(
                config,
                [(name, _digest_in_name(name)) for name in layers],
                [_familiar(tag) for tag in tags],
                parent if isinstance(parent, str) and is_digest(parent) else "",
            )
        )
    return images


def from_oci(read: ReadMember) -> list[ArchivedImage]:
    """Return the images of an OCI image layout, each for this machine's architecture."""
    index = load_json(read("index.json"), what="index.json")
    by_name: dict[str, list[Descriptor]] = {}
    for position, descriptor in enumerate(_descriptors(index, "manifests", "index.json")):
        if _is_attestation(descriptor):
            continue
        by_name.setdefault(_name(descriptor) or f"\0{position}", []).append(descriptor)
    unnamed = [entry for name, entries in by_name.items() if name[0] == "\0" for entry in entries]
    if len(unnamed) > 1 and all("platform" in entry for entry in unnamed):
        by_name = {n: entries for n, entries in by_name.items() if n[0] != "\0"}
        by_name["\0"] = unnamed  # one image for several platforms, without a name
    images = []
    for name, entries in by_name.items():
        descriptor = _for_this_machine(entries)
        image = _image(read, descriptor, depth=0)
        if name[0] != "\0":
            image.names = [_familiar(name)]
        images.append(image)
    return images


def read_blob(read: ReadMember, descriptor: Descriptor) -> bytes:
    """Read the JSON blob of a descriptor and verify its digest."""
    if descriptor["size"] > JSON_BYTES_MAX:
        raise ArchiveError(f"the blob {descriptor['digest']} is too large for a document")
    content = read(blob_name(descriptor["digest"]))
    if sha256(content) != descriptor["digest"]:
        raise ArchiveError(
            f"the content of the blob {descriptor['digest']} does not match its digest",
            hint="the archive was damaged or changed; fetch or save it again",
        )
    return content


def blob_name(digest: str) -> str:
    """Return the path of a blob in an image layout."""
    return "blobs/sha256/" + digest.removeprefix(PREFIX)


def _image(read: ReadMember, entry: Descriptor, *, depth: int) -> ArchivedImage:
    """Read the image that a descriptor of a manifest, or of an index, refers to."""
    content = read_blob(read, entry)
    document = load_json(content, what=f"the manifest {entry['digest']}")
    what = f"the manifest {entry['digest']}"
    if not isinstance(document, dict):
        raise ArchiveError(f"{what} is not an object")
    for media_type in (entry.get("mediaType"), document.get("mediaType")):
        if media_type and media_type not in ACCEPTED:
            raise ArchiveError(f"{what} is of an unknown media type: {media_type!r:.100}")
    if "manifests" in document:
        if depth >= _INDEX_DEPTH_MAX:
            raise ArchiveError("the archive's indexes are nested too deeply")
        entries = [d for d in _descriptors(document, "manifests", what) if not _is_attestation(d)]
        return _image(read, _for_this_machine(entries), depth=depth + 1)
    config = _descriptors({"config": [document.get("config")]}, "config", what)[0]
    layers = _descriptors(document, "layers", what)
    return ArchivedImage(
        read_blob(read, config),
        [(blob_name(layer["digest"]), layer["digest"]) for layer in layers],
        [],
    )


def _for_this_machine(entries: list[Descriptor]) -> Descriptor:
    """Choose the manifest for this machine; a single one is taken unchecked."""
    if not entries:
        raise ArchiveError("an index of the archive lists no image")
    if len(entries) == 1:
        return entries[0]
    wanted = host_architecture()
    found = []
    for entry in entries:
        platform = entry.get("platform")
        if isinstance(platform, dict):
            found.append(f"{platform.get('os')}/{platform.get('architecture')}")
            if platform.get("os") == "linux" and platform.get("architecture") == wanted:
                return entry
    raise ArchiveError(
        f"the archive has no image for linux/{wanted}",
        hint=f"it has {', '.join(found) or 'several that name no platform'}",
    )


def _descriptors(document: object, field: str, what: str) -> list[Descriptor]:
    """Read a list of descriptors, and check the digest and size of each."""
    entries = document.get(field) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ArchiveError(f"{what} has no list of {field}")
    for entry in entries:
        size = entry.get("size") if isinstance(entry, dict) else None
        if not (isinstance(size, int) and size >= 0 and is_digest(entry.get("digest"))):
            raise ArchiveError(f"{what}: a descriptor in {field} has no sha256 digest or no size")
    return entries


def _is_attestation(entry: Descriptor) -> bool:
    """Whether an entry of an index is BuildKit's attestation of an image, not an image."""
    annotations = entry.get("annotations")
    platform = entry.get("platform")
    return (isinstance(annotations, dict) and "vnd.docker.reference.type" in annotations) or (
        isinstance(platform, dict) and platform.get("architecture") == "unknown"
    )


def _name(entry: Descriptor) -> str:
    """Return the name of an entry of index.json: containerd's is complete, OCI's may be a tag."""
    annotations = entry.get("annotations")
    if not isinstance(annotations, dict):
        return ""
    name = annotations.get(NAME) or annotations.get(REF_NAME)
    return name if isinstance(name, str) else ""


def _digest_in_name(name: str) -> str:
    """Return the digest in the name of a member, as in blobs/sha256/<hex>, or ""."""
    folder, _, base = name.rpartition("/")
    digest = PREFIX + base.removesuffix(".json")
    promised = folder.endswith("blobs/sha256") or (base.endswith(".json") and not folder)
    return digest if promised and is_digest(digest) else ""


def _familiar(name: str) -> str:
    try:
        return reference.parse(name).with_default_tag().familiar
    except UsageError as error:
        raise ArchiveError(f"the archive has an image with an invalid name: {name!r}") from error


def _texts(value: object, what: str) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ArchiveError(f"{what} is not a list of strings")
    return value
