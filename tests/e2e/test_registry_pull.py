"""`pull` from Debian's docker-registry: which image, which layers, which names, which words."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from minidock.oci.image_config import host_architecture
from minidock.paths import Store
from support.command import Minidock, command_line, environment
from support.docker_daemon import Docker
from support.misbehaving import Proxy, misbehaving, status
from support.patience import patience
from support.registry import Registry, serve
from support.registry_images import (
    OCI_CONFIG,
    OCI_LAYER,
    OCI_MANIFEST,
    layer,
    put_blob,
    put_image,
    put_index,
)

pytestmark = pytest.mark.root
HERE = f"linux/{host_architecture()}"
FOREIGN = "linux/s390x"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    """A well-behaved one: it counts what is asked for."""
    with misbehaving(registry.host) as running:
        yield running


@pytest.fixture
def three_layers() -> list[bytes]:
    """Layers of random content, each another one in each test."""
    return [layer({f"file{n}": os.urandom(200_000 + n)}) for n in range(3)]


def content_of(store: Store, image_id: str, name: str) -> bytes:
    """A file of an image, from the layer that has it."""
    references = json.loads(Path(store.images).read_text())["images"]
    for chain_id in references[image_id]["layers"]:
        path = Path(store.layer(chain_id)) / "diff" / name
        if path.exists():
            return path.read_bytes()
    raise FileNotFoundError(name)


def is_clean(store: Store) -> bool:
    """Whether nothing is in staging/."""
    return os.listdir(store.staging) == []


def test_pulled_image_is_the_one_that_was_put(
    minidock: Minidock, store: Store, registry: Registry, three_layers: list[bytes]
) -> None:
    put = put_image(registry, "team/app", "1", three_layers)
    name = f"{registry.host}/team/app"
    out = minidock.ok("pull", f"{name}:1").splitlines()
    assert out[0] == "1: Pulling from team/app"
    assert out[-3:] == [
        f"Digest: {put.manifest}",
        f"Status: Downloaded newer image for {name}:1",
        f"{name}:1",
    ]
    inspected = json.loads(minidock.ok("image", "inspect", f"{name}:1"))[0]
    assert inspected["Id"] == put.id
    assert inspected["RepoDigests"] == [f"{name}@{put.manifest}"]
    assert inspected["Architecture"] == "amd64"
    for number, tar in enumerate(three_layers):
        assert content_of(store, put.id, f"file{number}") in tar
    assert is_clean(store)


def test_what_is_here_is_not_fetched_again(
    minidock: Minidock, registry: Registry, proxy: Proxy, three_layers: list[bytes]
) -> None:
    shared, new = three_layers[:2], layer({"new": os.urandom(1000)})
    put_image(registry, "shared/base", "1", shared)
    child = put_image(registry, "shared/child", "1", [*shared, new])
    minidock.ok("pull", f"{proxy.host}/shared/base:1")
    proxy.requests.clear()
    out = minidock.ok("pull", f"{proxy.host}/shared/child:1")
    assert out.count("Already exists") == 2
    fetched = {a.path.rpartition("/")[2] for a in proxy.asked("GET", "/blobs/")}
    assert fetched == {child.id, child.layers[2]}
    proxy.requests.clear()
    again = minidock.ok("pull", f"{proxy.host}/shared/child:1")
    assert f"Status: Image is up to date for {proxy.host}/shared/child:1" in again
    assert proxy.asked("GET", "/blobs/") == []


@pytest.mark.parametrize("compression", ["gzip", "zstd", ""])
def test_layers_come_in_every_compression(
    compression: str, minidock: Minidock, store: Store, registry: Registry
) -> None:
    content = os.urandom(50_000)
    put = put_image(
        registry, "packed", compression or "plain", [layer({"f": content})], compression=compression
    )
    minidock.ok("pull", f"{registry.host}/packed:{compression or 'plain'}")
    assert content_of(store, put.id, "f") == content


def test_the_same_layer_twice_in_one_image(
    minidock: Minidock, store: Store, registry: Registry
) -> None:
    tar = layer({"f": b"content"})
    put = put_image(registry, "twice", "1", [tar, layer({"g": b"other"}), tar])
    minidock.ok("pull", f"{registry.host}/twice:1")
    assert content_of(store, put.id, "f") == b"content"


@pytest.mark.parametrize("docker", [False, True])
def test_of_several_platforms_this_machines_is_taken(
    docker: bool, minidock: Minidock, store: Store, registry: Registry
) -> None:
    path = f"many/{'docker' if docker else 'oci'}"
    images = {
        platform: put_image(
            registry,
            path,
            "",
            [layer({"which": platform.encode()})],
            architecture=platform.split("/")[1],
            docker=docker,
        )
        for platform in (FOREIGN, "linux/arm/v6", "linux/arm/v7", HERE)
    }
    digest = put_index(registry, path, "1", images, docker=docker)
    name = f"{registry.host}/{path}:1"
    out = minidock.ok("pull", name)
    assert f"Digest: {digest}" in out
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", name) == images[HERE].id
    minidock.ok("pull", "--platform", FOREIGN, name)
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", name) == images[FOREIGN].id
    minidock.ok("pull", "--platform", "linux/arm/v7", name)
    assert content_of(store, images["linux/arm/v7"].id, "which") == b"linux/arm/v7"
    minidock.ok("pull", "--platform", "linux/arm", f"{registry.host}/{path}@{digest}")
    refused = minidock("pull", "--platform", "linux/riscv64", name)
    assert refused.code == 1
    assert "no matching manifest for linux/riscv64 in the manifest list entries" in refused.stderr
    assert f"linux/arm/v6, linux/arm/v7, {FOREIGN}" in refused.stderr


def test_a_platform_that_a_single_image_has_not_is_an_error(
    minidock: Minidock, registry: Registry
) -> None:
    put_image(registry, "single", "1", [layer({"f": b"x"})])
    refused = minidock("pull", "--platform", FOREIGN, f"{registry.host}/single:1")
    assert refused.code == 1
    assert f"wanted {FOREIGN}, actual: linux/amd64" in refused.stderr
    wrong = minidock("pull", "--platform", "windows/amd64", f"{registry.host}/single:1")
    assert wrong.code == 1 and "not a platform" in wrong.stderr


def test_a_tag_that_moves_leaves_the_old_image_without_a_name(
    minidock: Minidock, registry: Registry
) -> None:
    name = f"{registry.host}/moving:1"
    old = put_image(registry, "moving", "1", [layer({"f": b"old"})])
    minidock.ok("pull", name)
    new = put_image(registry, "moving", "1", [layer({"f": b"new"})])
    out = minidock.ok("pull", name)
    assert f"Status: Downloaded newer image for {name}" in out
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", name) == new.id
    by_digest = f"{registry.host}/moving@{old.manifest}"
    assert json.loads(minidock.ok("image", "inspect", by_digest))[0]["RepoTags"] == []
    out = minidock.ok("pull", by_digest)
    assert f"Status: Image is up to date for {by_digest}" in out


def test_all_tags_of_a_repository(minidock: Minidock, registry: Registry) -> None:
    for tag in ("a", "b", "c"):
        put_image(registry, "tagged", tag, [layer({"f": tag.encode()})])
    out = minidock.ok("pull", "-a", f"{registry.host}/tagged").splitlines()
    assert out[-1] == f"{registry.host}/tagged"
    for tag in ("a", "b", "c"):
        assert f"{tag}: Pulling from tagged" in out
        minidock.ok("image", "inspect", f"{registry.host}/tagged:{tag}")
    refused = minidock("pull", "-a", f"{registry.host}/tagged:a")
    assert refused.code == 1 and "tag can't be used with --all-tags/-a" in refused.stderr


def test_quiet_says_the_name_only(minidock: Minidock, registry: Registry) -> None:
    put_image(registry, "quiet", "latest", [layer({"f": b"x"})])
    name = f"{registry.host}/quiet"
    assert minidock.ok("pull", "-q", name) == f"{name}:latest"
    assert minidock.ok("image", "pull", "-q", name) == f"{name}:latest"


WRONG = {
    "manifest for {name} not found: manifest unknown": "nosuch",
    "is an image of the manifest schema 1": "old",
    "is not a container image": "chart",
    "is not a JSON object": "garbage",
    "layers length mismatch: expected 1, got 2": "mismatch",
    "the image's config is damaged": "badconfig",
    "a layer of the image has the wrong digest": "otherlayer",
}


@pytest.mark.parametrize("words", WRONG)
def test_what_is_no_image_is_refused_and_leaves_nothing(
    words: str, minidock: Minidock, store: Store, registry: Registry, proxy: Proxy
) -> None:
    which = WRONG[words]
    name = f"{proxy.host}/wrong:{which}"
    _put_wrong(registry, which, proxy)
    refused = minidock("pull", name)
    assert refused.code == 1
    assert words.format(name=name) in refused.stderr
    assert minidock.ok("images", "-aq") == ""
    assert os.listdir(store.layers) == [] and is_clean(store)


def _put_wrong(registry: Registry, which: str, proxy: Proxy) -> None:
    """An image that is wrong in one way; what the registry would not take, the proxy says."""
    if which == "nosuch":
        return
    tars = [layer({"f": b"1"}), layer({"f": b"2"})]
    config: dict[str, object] = {}
    if which == "mismatch":
        config = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]}}
    if which == "badconfig":
        config = {"rootfs": {"type": "layers", "diff_ids": "none"}}
    if which == "otherlayer":
        config = {"rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2}}
    put_image(registry, "wrong", which, tars, config=config)
    if which == "garbage":
        proxy.on("GET", "/manifests/", status(200, b"[" * 100_000))
    if which == "old":
        proxy.on("GET", "/manifests/", status(200, b'{"schemaVersion": 1}'))
    if which == "chart":
        chart = {"mediaType": "application/vnd.cncf.helm.config.v1+json"}
        chart |= put_blob(registry, "wrong", b"{}")
        manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": chart, "layers": []}
        registry.put_manifest("wrong", which, manifest, OCI_MANIFEST)


def test_a_layer_whose_blob_is_shorter_inside_than_outside(
    minidock: Minidock, store: Store, registry: Registry
) -> None:
    """Bytes behind the gzip stream are read and hashed too: the blob's digest covers them."""
    tar = layer({"f": b"x"})
    packed = gzip.compress(tar) + b"\0" * 1000
    described = {"mediaType": OCI_LAYER + "+gzip", **put_blob(registry, "trailing", packed)}
    put = put_image(registry, "trailing", "plain", [tar])
    config = json.loads(registry.manifest("trailing", "plain")[0])["config"]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config}
    assert config["mediaType"] == OCI_CONFIG
    registry.put_manifest("trailing", "1", {**manifest, "layers": [described]}, OCI_MANIFEST)
    minidock.ok("pull", f"{registry.host}/trailing:1")
    assert content_of(store, put.id, "f") == b"x"


@pytest.fixture
def small_disk(registry: Registry, minidock: Minidock) -> Iterator[Minidock]:
    """A store on a disk of 4 MB."""
    directory = f"{minidock.root}/small"
    os.mkdir(directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "small", directory], check=True)
    yield Minidock(f"{directory}/store")
    subprocess.run(["umount", directory], check=True)


def test_a_disk_that_is_too_small_is_one_clear_error(
    small_disk: Minidock, registry: Registry
) -> None:
    tars = [layer({f"f{n}": os.urandom(2_500_000)}) for n in range(3)]
    put_image(registry, "too/large", "1", tars)
    failed = small_disk("pull", f"{registry.host}/too/large:1")
    assert failed.code == 1 and failed.stderr.count("minidock: ") == 1
    assert "No space left on device" in failed.stderr and "Traceback" not in failed.stderr
    assert os.listdir(f"{small_disk.root}/staging") == []
    put_image(registry, "small/enough", "1", tars[:1])
    small_disk.ok("pull", f"{registry.host}/small/enough:1")


# --- run and create ------------------------------------------------------------------------------


@pytest.fixture
def busybox_there(registry: Registry, busybox_tar: Path) -> str:
    """busybox in the registry, as a name to run it by."""
    put_image(
        registry, "busybox", "latest", [busybox_tar.read_bytes()], architecture=HERE.split("/")[1]
    )
    return f"{registry.host}/busybox"


def test_run_pulls_an_image_that_is_not_here(minidock: Minidock, busybox_there: str) -> None:
    result = minidock("run", "--rm", "--net", "none", busybox_there, "echo", "hello")
    assert (result.code, result.stdout) == (0, "hello\n"), str(result)
    lines = result.stderr.splitlines()
    assert lines[0] == f"Unable to find image '{busybox_there}:latest' locally"
    assert lines[1] == "latest: Pulling from busybox"
    assert lines[-1] == f"Status: Downloaded newer image for {busybox_there}:latest"
    again = minidock("run", "--rm", "--net", "none", busybox_there, "echo", "hello")
    assert (again.code, again.stdout, again.stderr) == (0, "hello\n", "")


def test_run_pulls_as_its_flag_says(
    minidock: Minidock, registry: Registry, busybox_there: str
) -> None:
    run = ("run", "--rm", "--net", "none")
    never = minidock(*run, "--pull", "never", busybox_there, "true")
    assert never.code == 125 and f"No such image: {busybox_there}:latest" in never.stderr
    quiet = minidock(*run, "-q", busybox_there, "echo", "hi")
    assert (quiet.code, quiet.stdout, quiet.stderr) == (0, "hi\n", "")
    always = minidock(*run, "--pull", "always", busybox_there, "true")
    assert always.code == 0
    assert f"Status: Image is up to date for {busybox_there}:latest" in always.stderr
    created = minidock("create", "--pull=always", "--net", "none", busybox_there)
    assert created.code == 0 and len(created.stdout.strip()) == 64
    missing = minidock(*run, f"{registry.host}/nosuch", "true")
    assert missing.code == 125
    assert "manifest unknown" in missing.stderr and "minidock image make" in missing.stderr
    created = minidock("create", f"{registry.host}/nosuch", "true")
    assert created.code == 1


@pytest.mark.parametrize(
    "name", ["127.0.0.1:1/nobody", "nosuch.invalid/image", "hub-is-blocked-here"]
)
def test_where_nobody_answers_it_is_said_at_once(name: str, minidock: Minidock) -> None:
    for arguments, code in ((("pull", name), 1), (("run", name), 125), (("create", name), 1)):
        result = minidock(*arguments, timeout_seconds=15)
        assert result.code == code
        assert result.stderr.count("minidock: ") == 1
        assert any(
            words in result.stderr
            for words in ("connection refused", "lookup: ", "docker.io is blocked")
        ), str(result)


# --- on a terminal, and in memory ----------------------------------------------------------------


def test_a_terminal_shows_a_bar_for_each_layer(
    minidock: Minidock, registry: Registry, three_layers: list[bytes]
) -> None:
    put = put_image(registry, "live", "1", three_layers)
    command, *words = [*command_line(), "pull", f"{registry.host}/live:1"]
    child = pexpect.spawn(
        command,
        words,
        env={**environment(minidock.root), "TERM": "xterm"},  # type: ignore[arg-type]
        encoding="utf-8",
        dimensions=(40, 120),
        timeout=patience(30),
    )
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", child.before)
    for digest in put.layers:
        assert f"{digest[7:19]}: Pull complete" in screen
    assert screen.rstrip().endswith(f"{registry.host}/live:1")
    assert child.before.count("\x1b[?25l") == child.before.count("\x1b[?25h")  # the cursor is back


# Started by a small process: a child's peak begins with what its parent has.
MEASURE = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


def peak_kilobytes(minidock: Minidock, *arguments: str) -> int:
    """The most memory that any process of a command had."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command_line(), *arguments],
        env=environment(minidock.root),
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout)


def test_memory_does_not_grow_with_the_layer(minidock: Minidock, registry: Registry) -> None:
    """A layer of 300 MB is pulled and pushed in less than 100 MB."""
    name, other = f"{registry.host}/large:1", f"{registry.host}/other:1"
    put_image(registry, "large", "1", [layer({"zeros": bytes(300_000_000)})])
    assert peak_kilobytes(minidock, "pull", "-q", name) < 100_000
    minidock.ok("tag", name, other)
    for memory in Path(minidock.root).glob("layers/*/blobs.json"):
        memory.unlink()  # so that it is sent, and not mounted
    assert peak_kilobytes(minidock, "push", "-q", other) < 100_000


# --- beside the others ---------------------------------------------------------------------------


def in_order_of_docker(text: str) -> list[str]:
    """Docker's lines without those whose order or coming depends on the moment."""
    passing = (": Waiting", ": Verifying Checksum", ": Download complete")
    lines = [line for line in text.splitlines() if not line.endswith(passing)]
    return sorted(lines) if any("Pull complete" in line for line in lines) else lines


def test_lines_are_dockers(
    minidock: Minidock, docker: Docker, registry: Registry, three_layers: list[bytes]
) -> None:
    architecture = HERE.split("/")[1]
    put = put_image(registry, "words", "latest", three_layers, architecture=architecture)
    put_image(registry, "words", "child", [*three_layers, layer({"g": b"g"})])
    name = f"{registry.host}/words"
    for arguments in (
        ("pull", name),
        ("pull", f"{name}:latest"),
        ("pull", f"{name}@{put.manifest}"),
        ("pull", f"{name}:child"),
        ("pull", "-q", name),
        ("pull", "-a", name),
    ):
        ours, theirs = minidock.ok(*arguments), docker.ok(*arguments)
        assert in_order_of_docker(ours) == in_order_of_docker(theirs), arguments
    digests = "{{.Id}} {{.RepoTags}} {{.RepoDigests}}"
    inspect = ("image", "inspect", "-f", digests, name)
    assert minidock.ok(*inspect) == docker.ok(*inspect)
    docker.ok("rmi", "-f", name, f"{name}:child")


def test_errors_are_dockers(minidock: Minidock, docker: Docker, registry: Registry) -> None:
    put_image(registry, "errors", "1", [layer({"f": b"x"})])
    for arguments in (
        ("pull", f"{registry.host}/errors:2"),
        ("pull", f"{registry.host}/errors"),
        ("pull", f"{registry.host}/nosuch"),
        ("pull", "-a", f"{registry.host}/errors:1"),
        ("pull", "UPPER"),
        ("push", f"{registry.host}/errors"),
        ("push", f"{registry.host}/errors@sha256:" + "0" * 64),
        ("push", "-a", f"{registry.host}/errors:1"),
    ):
        ours, theirs = minidock(*arguments), docker(*arguments)
        said = theirs.stderr.decode().strip().removeprefix("Error response from daemon: ")
        assert ours.code == theirs.returncode, arguments
        assert ours.stderr.splitlines()[0] == f"minidock: {said}", arguments


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_what_skopeo_copied_there_is_pulled(
    form: str,
    minidock: Minidock,
    busybox_image: str,
    registry: Registry,
    require: Callable[[str], str],
    tmp_path: Path,
) -> None:
    skopeo = require("skopeo")
    archive = tmp_path / "busybox.tar"
    minidock.ok("save", "-o", str(archive), busybox_image)
    minidock.ok("rmi", busybox_image)
    target = f"docker://{registry.host}/by/skopeo:{form}"
    copy = [skopeo, "copy", "-q", "--format", form, "--dest-tls-verify=false"]
    subprocess.run([*copy, f"docker-archive:{archive}", target], check=True)
    name = f"{registry.host}/by/skopeo:{form}"
    minidock.ok("pull", name)
    config = json.loads(registry.manifest("by/skopeo", form)[0])["config"]
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", name) == config["digest"]
    assert minidock.ok("run", "--rm", "--net", "none", name, "echo", "hi") == "hi"
