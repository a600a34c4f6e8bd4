"""Images: the OCI config, descriptors and manifests; images.json and layer.json of the store.

Sources: OCI image-spec config.md, descriptor.md, manifest.md, image-index.md; moby
image/spec/v1.2.md (manifest.json); Docker Engine API 1.45, ImageInspect.
"""

from typing import Literal, NotRequired, TypedDict, final

from minidock.document_types.container import ContainerConfig


class HistoryEntry(TypedDict, total=False):
    """One step of how an image was made. empty_layer: it has no layer."""

    created: str  # RFC 3339
    created_by: str
    author: str
    comment: str
    empty_layer: bool


class RootFs(TypedDict):
    """diff_ids: digests of the layers' uncompressed archives, lowest first."""

    type: NotRequired[str]
    diff_ids: NotRequired[list[str] | None]


class ImageConfig(TypedDict):
    """An image's config, whose digest is the image's ID. Each field but rootfs may be null."""

    architecture: NotRequired[str]  # "amd64"
    os: NotRequired[str]
    variant: NotRequired[str]  # "v8"
    created: NotRequired[str]  # RFC 3339
    author: NotRequired[str]
    comment: NotRequired[str]
    container: NotRequired[str]  # Docker's: the id of the container that was committed
    docker_version: NotRequired[str]
    config: NotRequired[ContainerConfig | None]
    rootfs: RootFs
    history: NotRequired[list[HistoryEntry] | None]


class Descriptor(TypedDict):
    """A blob: its media type, digest and size in bytes.

    platform, annotations: objects of strings; not validated in documents from outside.
    """

    mediaType: str
    digest: str
    size: int
    platform: NotRequired[object]
    annotations: NotRequired[object]


class Manifest(TypedDict):
    """An image: its config and its layers, lowest first."""

    schemaVersion: Literal[2]
    mediaType: str
    config: Descriptor
    layers: list[Descriptor]


class Index(TypedDict):
    """index.json, or one image's manifests by platform."""

    schemaVersion: Literal[2]
    mediaType: str
    manifests: list[Descriptor]


class ArchiveEntry(TypedDict):
    """One image of manifest.json in an archive of `docker save`. Names of members and images."""

    Config: str
    RepoTags: list[str] | None
    Layers: list[str]
    Parent: NotRequired[str]
    LayerSources: NotRequired[dict[str, Descriptor]]  # by diff_id


class ImageRecord(TypedDict):
    """An image in images.json. layers: chain IDs, lowest first. size: bytes of their files.

    created, tagged: RFC 3339. parent: the ID of the image that it was committed on, or "".
    """

    layers: list[str]
    size: int
    created: str
    parent: str
    tagged: str
    removed: NotRequired[bool]  # without a name; a container still uses its layers


class ImageCatalogue(TypedDict):
    """The content of images.json: images by ID, and IDs by name."""

    images: dict[str, ImageRecord]
    references: dict[str, str]


class LayerRecord(TypedDict):
    """The content of layer.json. size: bytes of the layer's files; tar_size: of its archive."""

    diff_id: str
    size: int
    tar_size: int


class BlobRecord(TypedDict):
    """A blob of a layer in blobs.json. at: repositories that have it, the most recent first."""

    digest: str
    size: int
    media_type: str
    at: list[str]  # "host/path"


@final
class Unpacked(TypedDict, total=False):
    """What a child reports that unpacked an archive; nothing if no layer was made of it."""

    content_bytes: int
    tar_bytes: int
    replaced_any: bool


@final
class UnpackFailure(TypedDict):
    """What it reports of an error. kind: the error's class."""

    kind: str
    error: str
    hint: str


class ImageGraphDriver(TypedDict):
    """Data: LowerDir and UpperDir, if there are such layers."""

    Data: dict[str, str]
    Name: str


class InspectedLayers(TypedDict):
    Type: str
    Layers: list[str]


class ImageMetadata(TypedDict):
    LastTagTime: str


class ImageInspect(TypedDict):
    """An image in the form of `docker image inspect`."""

    Id: str
    RepoTags: list[str]
    RepoDigests: list[str]
    Parent: str
    Comment: str
    Created: str
    DockerVersion: str
    Author: str
    Config: ContainerConfig
    Architecture: str
    Variant: NotRequired[str]
    Os: str
    Size: int
    GraphDriver: ImageGraphDriver
    RootFS: InspectedLayers
    Metadata: ImageMetadata
