"""Images come and go: load, save, tag, rmi, held against docker, podman and skopeo."""

from __future__ import annotations

import io
import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from minidock.engine.image import images_json, removal
from minidock.engine.image.archive import import_rootfs, load
from minidock.engine.image.build_cache import Cache, CachedStep
from minidock.engine.image.commit import commit
from minidock.engine.image.images import ImageStore
from minidock.engine.image.removal import collect_garbage, prune
from minidock.engine.image.save import save
from minidock.errors import Conflict, MinidockError, NotFound, StoreError, UsageError
from minidock.oci.image_config import host_architecture
from minidock.paths import Store
from support import archives, machine, podman_engine
from support.archives import directory, file
from support.docker_daemon import Docker

# One worker for all that share the docker daemon's names.
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("docker images")]

LOWER = archives.layer(directory("etc"), file("etc/motd", b"hello\n"), file("big", b"b" * 3000))
UPPER = archives.layer(file("etc/.wh.motd"), file("top", b"t"))


def nobody(image_id: str) -> list[tuple[str, bool]]:
    return []


def saved(store: Store, *refs: str) -> bytes:
    stream = io.BytesIO()
    save(store, refs, stream)
    return stream.getvalue()


def load_bytes(store: Store, content: bytes) -> list[str]:
    return load(store, io.BytesIO(content))


@pytest.fixture
def images(store: Store) -> ImageStore:
    return ImageStore(store)


# --- load ----------------------------------------------------------------------------------------


def _packings() -> dict[str, Callable[[bytes], bytes]]:
    import bz2
    import gzip
    import lzma

    import zstandard

    def two_frames(content: bytes) -> bytes:
        compressor = zstandard.ZstdCompressor()
        return compressor.compress(content[:700]) + compressor.compress(content[700:])

    return {
        "plain": bytes, "gzip": gzip.compress, "zstd": zstandard.compress, "xz": lzma.compress,
        "bzip2": bz2.compress, "zstd frames": two_frames,
        "gzip members": lambda c: gzip.compress(c[:700]) + gzip.compress(c[700:]),
    }  # fmt: skip


@pytest.mark.parametrize("packing", _packings())
@pytest.mark.parametrize("kind", ["docker", "oci"])
def test_archives_and_layers_load_in_every_packing(
    store: Store, images: ImageStore, packing: str, kind: str
) -> None:
    pack = _packings()[packing]
    blobs = [pack(LOWER), UPPER]
    if kind == "docker":
        config = archives.config([LOWER, UPPER])
        content = archives.docker_archive(blobs, tags=["web:1"], config_bytes=config)
    else:
        content = archives.oci_archive([LOWER, UPPER], compressed=blobs, name="web:1")
    assert load_bytes(store, pack(content)) == ["Loaded image: web:1"]
    image = images.resolve("web:1")
    lower, upper = image.layer_directories()
    assert Path(lower, "etc/motd").read_bytes() == b"hello\n"
    assert Path(upper, "top").read_bytes() == b"t"
    assert image.size == 3000 + 6 + 1


def test_load_from_a_pipe_and_from_the_middle_of_a_file(store: Store, tmp_path: Path) -> None:
    content = archives.docker_archive([LOWER], tags=["a:1"])
    read, write = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(write, content), os.close(write)))
    writer.start()
    with os.fdopen(read, "rb", buffering=0) as stream:
        assert load(store, stream) == ["Loaded image: a:1"]
    writer.join()
    (tmp_path / "f").write_bytes(b"before" + archives.docker_archive([UPPER], tags=["b:1"]))
    with (tmp_path / "f").open("rb") as stream:
        stream.read(6)
        assert load(store, stream) == ["Loaded image: b:1"]


def test_image_without_a_name_is_reported_by_its_id(store: Store, images: ImageStore) -> None:
    lines = load_bytes(store, archives.docker_archive([LOWER]))
    assert lines == [f"Loaded image ID: {images.list()[0].id}"]
    assert images.list()[0].references == []


def test_a_name_that_moves_leaves_the_old_image_without(store: Store, images: ImageStore) -> None:
    load_bytes(store, archives.docker_archive([LOWER], tags=["x:1"]))
    old = images.resolve("x:1").id
    lines = load_bytes(store, archives.docker_archive([UPPER], tags=["x:1"]))
    assert lines == [
        f"The image x:1 already exists, renaming the old one with ID {old} to empty string",
        "Loaded image: x:1",
    ]
    assert images.resolve(old).references == []


def test_layers_that_are_linked_twice_load_as_docker_saved_them(
    store: Store, images: ImageStore
) -> None:
    """Docker before 25 made a layer that it had written already a symbolic link."""
    config = archives.config([LOWER, LOWER])
    members = archives.docker_members([LOWER, LOWER], tags=["x:1"], config_bytes=config)
    first, second = f"{0:064x}/layer.tar", f"{1:064x}/layer.tar"
    entries = [
        archives.symlink(second, f"../{first}") if name == second else file(name, content)
        for name, content in members.items()
    ]
    load_bytes(store, archives.archive(entries))
    assert len(set(images.resolve("x:1").chain_ids)) == 2


def test_of_several_platforms_this_machines_is_loaded(store: Store, images: ImageStore) -> None:
    ours, other = archives.oci_members([LOWER]), archives.oci_members([UPPER])
    inner = []
    for members, architecture in ((other, "s390x"), (ours, host_architecture())):
        entry = json.loads(members["index.json"])["manifests"][0]
        inner.append({**entry, "platform": {"os": "linux", "architecture": architecture}})
    note = {"vnd.docker.reference.type": "attestation-manifest"}
    unknown = {"os": "unknown", "architecture": "unknown"}
    inner.append({**inner[0], "platform": unknown, "annotations": note})
    index = json.dumps({"schemaVersion": 2, "manifests": inner}).encode()
    outer = archives.descriptor(index, "application/vnd.oci.image.index.v1+json")
    outer["annotations"] = {"io.containerd.image.name": "docker.io/library/multi:1",
                            "org.opencontainers.image.ref.name": "1"}  # fmt: skip
    members = {**other, **ours, archives.blob_name(index): index,
               "index.json": json.dumps({"manifests": [outer]}).encode()}  # fmt: skip
    assert load_bytes(store, archives.archive(members)) == ["Loaded image: multi:1"]
    assert images.resolve("multi:1").config["rootfs"]["diff_ids"] == [archives.digest(LOWER)]
    inner[1]["platform"] = {"os": "linux", "architecture": "mips"}
    members["index.json"] = json.dumps({"manifests": inner}).encode()
    with pytest.raises(MinidockError, match="no image for linux/"):
        load_bytes(store, archives.archive(members))


def test_progress_reaches_the_end(store: Store) -> None:
    told: list[tuple[str, int, int | None]] = []
    load(
        store,
        io.BytesIO(archives.docker_archive([LOWER], tags=["x:1"])),
        progress=lambda label, done, total: told.append((label, done, total)),
    )
    assert told[-1][1] == told[-1][2] == len(LOWER)
    assert told[-1][0] == archives.digest(LOWER)[7:19]


def test_loads_side_by_side_share_a_layer(store: Store, images: ImageStore) -> None:
    contents = [archives.docker_archive([LOWER, UPPER], tags=[f"n:{n}"]) for n in range(4)]
    pids = []
    for content in contents:
        if (pid := os.fork()) == 0:
            try:
                load_bytes(store, content)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    assert images.resolve("n:0").references == [f"n:{n}" for n in range(4)]
    assert os.listdir(store.staging) == []


# --- save, and the other engines -----------------------------------------------------------------


def test_docker_podman_and_skopeo_read_what_we_save(
    store: Store, images: ImageStore, docker: Docker, require: Callable[[str], str], tmp_path: Path
) -> None:
    load_bytes(store, archives.docker_archive([LOWER, UPPER], tags=["pair:1", "other:2"]))
    load_bytes(store, archives.docker_archive([LOWER], tags=["local:5000/team/one:1"]))
    path = tmp_path / "saved.tar"
    path.write_bytes(saved(store, "pair", "other:2", "local:5000/team/one:1"))
    docker.ok("load", "-i", str(path))
    for name in ("pair:1", "other:2", "local:5000/team/one:1"):
        assert docker.ok("image", "inspect", "-f", "{{.Id}}", name) == images.resolve(name).id
    theirs = json.loads(docker.ok("image", "inspect", "pair:1"))[0]
    ours = images.resolve("pair:1").inspect()
    for field in ("Id", "Size", "RootFS", "Config", "Architecture", "Os", "Created", "Comment"):
        assert ours[field] == theirs[field], field
    docker.ok("rmi", "pair:1", "other:2", "local:5000/team/one:1")

    require("podman")
    podman = podman_engine.command(tmp_path / "pod")
    subprocess.run([*podman, "load", "-i", path], check=True, capture_output=True)
    found = subprocess.check_output([*podman, "images", "--no-trunc", "--format", "{{.Id}}"])
    ids = {images.resolve(name).id[7:] for name in ("pair:1", "local:5000/team/one:1")}
    assert set(found.decode().split()) == ids
    subprocess.run([*podman, "rmi", "-af"], check=True, capture_output=True)
    machine.unmount_below(tmp_path / "pod")

    skopeo = require("skopeo")
    for source in (f"docker-archive:{path}:pair:1", f"oci-archive:{path}:2"):
        told = json.loads(subprocess.check_output([skopeo, "inspect", source]))
        assert told["Layers"] == [archives.digest(LOWER), archives.digest(UPPER)]


def test_what_docker_saves_keeps_its_id_here_and_back(
    store: Store, images: ImageStore, docker: Docker, busybox_tar: Path
) -> None:
    docker.ok("import", str(busybox_tar), "round:1")
    identity = docker.ok("image", "inspect", "-f", "{{.Id}}", "round:1")
    archive = docker("save", "round:1").stdout
    docker.ok("rmi", "round:1")
    assert load_bytes(store, archive) == ["Loaded image: round:1"]
    assert images.resolve("round:1").id == identity
    docker.ok("load", stdin=saved(store, "round:1"))
    assert (
        docker.ok("run", "--rm", "--network", "none", "round:1", "/bin/busybox", "echo", "ok")
        == "ok"
    )
    docker.ok("rmi", "round:1")


def test_skopeos_archives_load(
    store: Store, images: ImageStore, require: Callable[[str], str], tmp_path: Path
) -> None:
    (tmp_path / "in.tar").write_bytes(archives.docker_archive([LOWER, UPPER], tags=["s:1"]))
    skopeo = [require("skopeo"), "--insecure-policy", "copy", "-q"]
    for target in ("oci-archive:{}:s:oci", "docker-archive:{}:s:docker"):
        out = tmp_path / f"{target[:3]}.tar"
        subprocess.run(
            [*skopeo, f"docker-archive:{tmp_path}/in.tar", target.format(out)], check=True
        )
        name = target.partition("{}:")[2]
        with out.open("rb") as stream:
            assert load(store, stream) == [f"Loaded image: {name}"]
        assert images.resolve(name).chain_ids == images.list()[-1].chain_ids


def test_saved_by_id_has_no_name(store: Store, images: ImageStore) -> None:
    load_bytes(store, archives.docker_archive([LOWER], tags=["x:1"]))
    identity = images.resolve("x:1").id
    content = saved(store, identity[:19])
    removal.remove(store, "x:1", force=False, in_use=nobody)
    assert load_bytes(store, content) == [f"Loaded image ID: {identity}"]


def test_save_of_what_is_not_there_writes_nothing(store: Store) -> None:
    stream = io.BytesIO()
    with pytest.raises(NotFound, match="No such image: nope$"):
        save(store, ["nope"], stream)
    assert stream.getvalue() == b""


def test_an_image_of_many_layers_goes_round(store: Store, images: ImageStore) -> None:
    layers = [archives.layer(file(f"f{n}", b"%d" % n)) for n in range(130)]
    load_bytes(store, archives.docker_archive(layers, tags=["many:1"]))
    image = images.resolve("many:1")
    content = saved(store, "many:1")
    assert len(removal.remove(store, "many:1", force=False, in_use=nobody)) == 132
    load_bytes(store, content)
    assert images.resolve("many:1").id == image.id


# --- names, tag, rmi -----------------------------------------------------------------------------


@pytest.fixture
def two(store: Store) -> None:
    load_bytes(store, archives.docker_archive([LOWER], tags=["one:1"]))
    load_bytes(store, archives.docker_archive([LOWER, UPPER], tags=["two:latest"]))


@pytest.mark.usefixtures("two")
def test_images_are_found_as_docker_finds_them(images: ImageStore) -> None:
    one = images.resolve("one:1")
    for ref in ("docker.io/library/one:1", "index.docker.io/one:1", "library/one:1", one.id,
                one.id[7:], one.id[7:19], one.id[:12]):  # fmt: skip
        assert images.resolve(ref).id == one.id, ref
    assert images.resolve("two").references == ["two:latest"]
    for ref in ("one", "one:2", "sha256:" + "0" * 64, "0" * 64, "sha256:", "other/one:1"):
        with pytest.raises(MinidockError):
            images.resolve(ref)
    with pytest.raises(NotFound, match="^No such image: one:latest$"):
        images.resolve("one")


@pytest.mark.usefixtures("two")
def test_an_ambiguous_beginning_of_an_id_finds_nothing(store: Store, images: ImageStore) -> None:
    catalogue = images_json.read(store)
    ids = list(catalogue["images"])
    twin = ids[0][:20] + "0" * 51
    catalogue["images"][twin] = catalogue["images"][ids[0]]
    images_json.write(store, catalogue)
    with pytest.raises(NotFound):
        images.resolve(ids[0][7:15])
    assert images.resolve(ids[0]).id == ids[0]


@pytest.mark.usefixtures("two")
def test_tag_gives_another_name(images: ImageStore) -> None:
    images.tag("one:1", "docker.io/library/new")
    assert images.resolve("one:1").references == ["new:latest", "one:1"]
    images.tag("two", "new")
    assert images.resolve("one:1").references == ["one:1"]
    with pytest.raises(UsageError, match="is not a valid repository/tag"):
        images.tag("one:1", "UPPER")
    with pytest.raises(NotFound, match="No such image: nope:latest$"):
        images.tag("nope", "x")


@pytest.mark.usefixtures("two")
def test_rmi_deletes_only_layers_that_nobody_else_stands_on(
    store: Store, images: ImageStore
) -> None:
    one, two = images.resolve("one:1"), images.resolve("two")
    assert removal.remove(store, "one:1", force=False, in_use=nobody) == [
        "Untagged: one:1",
        f"Deleted: {one.id}",
    ]
    assert os.path.isdir(store.layer(one.chain_ids[0]))
    assert removal.remove(store, two.id[7:19], force=False, in_use=nobody) == [
        "Untagged: two:latest",
        f"Deleted: {two.id}",
        f"Deleted: {two.chain_ids[1]}",
        f"Deleted: {two.chain_ids[0]}",
    ]
    assert os.listdir(store.layers) == os.listdir(store.blobs) == os.listdir(store.staging) == []


# Each case: how the images are set up, what uses them (running?), what is removed, with -f or not.
CASES = [
    (["one:1"], None, "one:1", False),
    (["one:1", "one:2"], None, "one:1", False),
    (["one:1", "one:2"], None, "ID", False),
    (["one:1", "one:2"], None, "ID", True),
    (["one:1", "two:1"], None, "ID", False),
    (["one:1", "two:1"], None, "ID", True),
    (["one:1"], False, "one:1", False),
    (["one:1"], False, "one:1", True),
    (["one:1"], False, "ID", False),
    (["one:1"], False, "ID", True),
    (["one:1", "one:2"], False, "one:1", False),
    (["one:1", "one:2"], False, "ID", True),
    (["one:1"], True, "one:1", False),
    (["one:1"], True, "one:1", True),
    (["one:1"], True, "ID", False),
    (["one:1"], True, "ID", True),
    (["one:1", "two:2"], True, "two:2", False),
    (["one:1", "two:2"], True, "ID", True),
    ([], None, "ID", False),
    ([], False, "ID", False),
]


@pytest.mark.parametrize(("tags", "running", "ref", "force"), CASES)
def test_rmi_answers_as_docker_does(
    store: Store, images: ImageStore, docker: Docker, busybox_tar: Path, tags: list[str],
    running: bool | None, ref: str, force: bool,
) -> None:  # fmt: skip
    own = archives.layer(file("own", os.urandom(8)))  # so that no other image shares its layers
    archive = archives.docker_archive([own, busybox_tar.read_bytes()], tags=tags or None)
    docker.ok("load", stdin=archive)
    load_bytes(store, archive)
    identity = images.list()[0].id
    argument = identity if ref == "ID" else ref
    users = []
    if running is not None:
        command = ["run", "-d"] if running else ["create"]
        options = ["--network", "none", "--entrypoint", "/bin/busybox", identity, "sleep", "60"]
        users.append((docker.ok(*command, *options), running))
    try:
        done = docker("rmi", *(["-f"] if force else []), argument)
        theirs = done.stdout.decode().splitlines()
        error = done.stderr.decode().strip().removeprefix("Error response from daemon: ")
        try:
            ours = removal.remove(store, argument, force=force, in_use=lambda _: users)
        except Conflict as refusal:
            assert str(refusal) == error
        else:
            assert not error
            assert ours == theirs
        format = "{{.ID}} {{.Repository}}:{{.Tag}}"
        listed = docker.ok("images", "--no-trunc", "--format", format).splitlines()
        names = [line.partition(" ")[2] for line in listed if line.startswith(identity)]
        kept = [n for image in images.list() for n in image.references or ["<none>:<none>"]]
        assert sorted(kept) == sorted(names)
    finally:
        for user, _ in users:
            docker.ok("rm", "-f", user)
        docker("rmi", "-f", identity)


@pytest.mark.usefixtures("two")
def test_image_forced_away_from_under_a_container_keeps_its_layers_until_that_is_gone(
    store: Store, images: ImageStore
) -> None:
    two = images.resolve("two")
    users = [("c" * 64, False)]
    lines = removal.remove(store, "two", force=True, in_use=lambda _: users)
    assert lines == ["Untagged: two:latest", f"Deleted: {two.id}"]
    assert two.id not in [image.id for image in images.list()]
    with pytest.raises(NotFound):
        images.resolve("two")
    with pytest.raises(NotFound):
        removal.remove(store, two.id, force=True, in_use=lambda _: users)
    assert Path(images.resolve(two.id).layer_directories()[1], "top").exists()
    collect_garbage(store, lambda _: users)
    assert os.path.isdir(store.layer(two.chain_ids[1]))
    collect_garbage(store, nobody)
    assert not os.path.isdir(store.layer(two.chain_ids[1]))
    assert os.path.isdir(store.layer(two.chain_ids[0]))
    with pytest.raises(NotFound):
        images.resolve(two.id)


@pytest.mark.usefixtures("two")
def test_an_image_that_was_forced_away_comes_back_by_load(store: Store, images: ImageStore) -> None:
    removal.remove(store, "two", force=True, in_use=lambda _: [("c", False)])
    load_bytes(store, archives.docker_archive([LOWER, UPPER], tags=["two:latest"]))
    assert images.resolve("two").references == ["two:latest"]
    collect_garbage(store, nobody)
    assert Path(images.resolve("two").layer_directories()[1], "top").exists()


@pytest.mark.usefixtures("two")
def test_parents_without_a_name_go_with_their_last_child(store: Store, images: ImageStore) -> None:
    one = images.resolve("one:1")
    ids = []
    parent = one.id
    for number in range(2):
        home = store.container(f"{number:064x}")
        os.makedirs(home.upper)
        Path(home.upper, f"f{number}").touch()
        document = {"Id": f"{number:064x}", "Image": parent, "Config": {"Cmd": ["sh"]}}
        parent = commit(store, document, "child:1" if number else "").id
        ids.append(parent)
    with pytest.raises(Conflict, match="cannot be forced.* - image has dependent child images"):
        removal.remove(store, ids[0], force=True, in_use=nobody)
    lines = removal.remove(store, "child:1", force=False, in_use=nobody)
    assert [x for x in lines if x[9:] in ids] == [f"Deleted: {ids[1]}", f"Deleted: {ids[0]}"]
    assert images.resolve("one:1").id == one.id


@pytest.mark.usefixtures("two")
def test_prune_leaves_what_has_a_tag_a_container_or_the_build_cache(
    store: Store, images: ImageStore
) -> None:
    one, two = images.resolve("one:1"), images.resolve("two")
    with Cache(store) as cache:
        cache.alias("a" * 64, CachedStep("", two.chain_ids[1], "", 1), description="RUN x")
    own = archives.layer(file("own", b"12345"))
    load_bytes(store, archives.docker_archive([LOWER, own]))
    by_digest = f"reg:5000/x@{archives.digest(b'manifest')}"
    (unnamed,) = (image for image in images.list() if not image.references)
    images.add(unnamed.config_bytes, unnamed.chain_ids, [by_digest])

    lines, freed = prune(store, tagged_too=False, wanted=lambda _: True, in_use=nobody)
    assert freed == 5
    assert lines[0] == f"Untagged: {by_digest}"
    assert {image.id for image in images.list()} == {one.id, two.id}

    users = {one.id: [("c" * 64, False)]}
    lines, freed = prune(
        store, tagged_too=True, wanted=lambda _: True, in_use=lambda i: users.get(i, [])
    )
    assert lines == ["Untagged: two:latest", f"Deleted: {two.id}"]
    assert freed == 0
    assert os.path.isdir(store.layer(two.chain_ids[1]))
    assert [image.id for image in images.list()] == [one.id]


# --- import, and the store -----------------------------------------------------------------------


def test_import_makes_dockers_config(
    store: Store, docker: Docker, busybox_tar: Path, images: ImageStore
) -> None:
    changes = [
        'CMD ["sh"]', "ENTRYPOINT foo bar", 'ENV A=b C="d e"', "ENV X y z",
        "ENV P=$A/${C:-x} Q='$A'",
        'LABEL x=y "z w"=q', "EXPOSE 80 90/udp 100-102", "VOLUME /v /w", 'VOLUME ["/b c"]',
        "WORKDIR /tmp", "WORKDIR rel/../up", "USER 1:2", "STOPSIGNAL SIGINT", "ONBUILD RUN x",
        "HEALTHCHECK --interval=5s --timeout=1m30s --retries=3 CMD curl x",
    ]  # fmt: skip
    options = [option for change in changes for option in ("-c", change)]
    docker.ok("import", "-m", "why", *options, str(busybox_tar), "theirs:1")
    theirs = json.loads(docker.ok("image", "inspect", "theirs:1"))[0]
    docker.ok("rmi", "theirs:1")
    with busybox_tar.open("rb") as stream:
        ours = import_rootfs(store, stream, "theirs:1", changes=changes, message="why").inspect()
    for field in theirs.keys() - {"Id", "Created", "DockerVersion", "GraphDriver", "Metadata"}:
        assert ours[field] == theirs[field], field
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize(
    ("platform", "shown"),
    [("", ""), ("linux/arm64", "arm64 "), ("arm", "arm "), ("linux/arm/v6", "arm v6")],
)
def test_import_for_a_platform(store: Store, platform: str, shown: str) -> None:
    told = import_rootfs(store, io.BytesIO(LOWER), "p:1", platform=platform).inspect()
    if shown:
        assert f"{told['Architecture']} {told.get('Variant', '')}" == shown
    else:
        assert told["Architecture"] == host_architecture()
    with pytest.raises(UsageError, match="is not a platform"):
        import_rootfs(store, io.BytesIO(LOWER), "p:1", platform="plan9/amd64")


def test_import_takes_compressed_archives(store: Store, images: ImageStore) -> None:
    image = import_rootfs(store, io.BytesIO(archives.gzipped(LOWER)))
    assert image.references == []
    assert image.chain_ids == [archives.digest(LOWER)]


def test_a_store_of_a_newer_minidock_is_refused(store: Store) -> None:
    Path(store.version).write_text("2\n")
    with pytest.raises(StoreError, match="has format 2; this minidock supports 1"):
        load_bytes(store, archives.docker_archive([LOWER]))
    assert os.listdir(store.root) == ["version"]


def test_only_root_comes_along_in_the_store(store: Store) -> None:
    load_bytes(store, archives.docker_archive([LOWER]))
    for path in (store.root, store.layers, store.blobs, store.containers, store.volumes):
        assert os.stat(path).st_mode & 0o007 == 0
