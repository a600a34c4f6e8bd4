"""where IMAGE and where VOLUME: their parts on this disk; the kernel knows neither."""

from __future__ import annotations

from minidock import jsontext
from minidock.engine.container.validation import in_container
from minidock.engine.image.layers import read_layer
from minidock.engine.store.container_json import list_documents
from minidock.engine.store.tree_walk import size_below
from minidock.errors import StoreError
from minidock.teach.layers.changes import summary_of
from minidock.teach.layers.find import of_image
from minidock.teach.layers.stack import Stack
from minidock.teach.page import plural, size, truncate
from minidock.teach.where.output import Location, Part, Section

TYPE_CHECKING = False
if TYPE_CHECKING:
    from minidock.document_types.container import ContainerDocument, MountPoint
    from minidock.document_types.store import VolumeInspect
    from minidock.engine.image.image import Image
    from minidock.paths import Store


def locate_image(store: Store, image: Image) -> Location:
    """Locate the parts of an image."""
    name = image.references[0] if image.references else image.id[7:19]
    layers = plural(len(image.chain_ids), "layer")
    return Location(
        "image",
        image.id,
        f"{name} · image · {layers}, {size(image.size)}",
        [
            Section("On this disk", [*_documents(store, image), *_users(store, image)]),
            Section("On this disk: its layers, the topmost first", layer_parts(store, image)),
        ],
        {"STORE": store.root, "ID": image.id.removeprefix("sha256:")},
    )


def _documents(store: Store, image: Image) -> list[Part]:
    names = ", ".join([*image.references, *image.digests]) or "none"
    return [
        Part("names", store.images, f"{names}: one file has all names of the store",
             ["cat", store.images]),
        Part("config", store.blob(image.id),
             "its configuration and layer digests; the digest of this file is the image's id",
             ["sha256sum", store.blob(image.id)]),
    ]  # fmt: skip


def layer_parts(store: Store, image: Image) -> list[Part]:
    """The layers of an image, each with its changes."""
    parts = []
    with Stack(of_image(image)) as stack:
        for layer in stack.layers:
            chain_id = image.chain_ids[layer.number - 1]
            summary = summary_of(stack, layer)
            bytes_on_disk = read_layer(store, chain_id)["size"]
            what = f"{size(bytes_on_disk)}, {summary}"
            parts.append(
                Part(
                    layer.name,
                    layer.path,
                    f"{what}: {truncate(layer.title, max(76 - len(what), 20))}"
                    if layer.title
                    else what,
                    ["ls", "-lA", layer.path],
                    number=layer.number,
                    size=bytes_on_disk,
                    created_by=layer.title,
                    **{name: n for name, n in summary.plain().items() if name != "bytes"},
                )
            )
    return parts


def _users(store: Store, image: Image) -> list[Part]:
    users = [d for d in list_documents(store) if d["Image"] == image.id]
    if not users:
        return []
    names = ", ".join(document["Name"].lstrip("/") for document in users)
    files = [store.container(document["Id"]).document for document in users]
    return [Part("containers", store.containers, names, ["grep", "-l", image.id, *files])]


def locate_volume(store: Store, document: VolumeInspect) -> Location:
    """Locate the parts of a volume, and the containers that mount it."""
    name = document["Name"]
    home = store.volume(name)
    users = [
        (each, mount)
        for each in list_documents(store)
        for mount in each["Mounts"]
        if mount["Type"] == "volume" and mount["Name"] == name
    ]
    mounted = "mounted by " + plural(len(users), "container") if users else "no container mounts it"
    return Location(
        "volume",
        name,
        f"{name} · volume · {mounted}",
        [
            Section(
                "On this disk",
                [
                    Part("files", document["Mountpoint"], _contents(document["Mountpoint"]),
                         ["ls", "-la", document["Mountpoint"]]),
                    Part("document", f"{home}/volume.json", "its name, driver and labels",
                         ["cat", f"{home}/volume.json"]),
                ],
            ),
            Section("Containers that mount it", [_user(store, *user) for user in users]),
        ],
        {"STORE": store.root},
    )  # fmt: skip


def _user(store: Store, document: ContainerDocument, mount: MountPoint) -> Part:
    name = document["Name"].lstrip("/")
    where = in_container(mount["Destination"])
    access = "" if mount["RW"] else ", read-only"
    if pid := document["State"]["Pid"]:
        return Part(name, where, f"at {where}{access}, in its mount table", mount_line(pid, where))
    words = f'"Destination":{jsontext.dumps(mount["Destination"])}'
    command = ["grep", "-o", "-F", words, store.container(document["Id"]).document]
    return Part(name, where, f"at {where}{access}, when it runs", command)


def mount_line(pid: int, destination: str) -> list[str]:
    """The command that shows a mount of a process by its mount point."""
    escaped = destination.translate({32: r"\040", 9: r"\011", 10: r"\012", 92: r"\134"})
    return ["grep", "-F", f" {escaped} ", f"/proc/{pid}/mountinfo"]


def _contents(path: str) -> str:
    """The number of files in a volume, and their size."""
    try:
        files, total = size_below(path)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from None
    return f"{plural(files, 'file')}, {size(total)}"
