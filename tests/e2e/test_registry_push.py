"""`push` to Debian's docker-registry: what goes over the line, and who can pull it afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support import machine, podman_engine
from support.command import Minidock
from support.docker_daemon import Docker
from support.misbehaving import Proxy, misbehaving
from support.registry import Registry, serve
from support.registry_images import layer, put_image

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def proxy(registry: Registry) -> Iterator[Proxy]:
    with misbehaving(registry.host) as running:
        yield running


@pytest.fixture
def two_layers(minidock: Minidock, busybox_image: str) -> str:
    """An image of two layers, the upper of which nobody has seen before."""
    minidock.ok("create", "--name", "changed", "--net", "none", busybox_image)
    upper = Path(minidock.root) / "containers" / minidock.ok("ps", "-aq", "--no-trunc") / "upper"
    (upper / "random").write_bytes(os.urandom(200_000))
    minidock.ok("commit", "changed", "two/layers")
    minidock.ok("rm", "changed")
    return "two/layers:latest"


def id_of(minidock: Minidock, name: str) -> str:
    return minidock.ok("image", "inspect", "-f", "{{.Id}}", name)


def test_pushed_image_is_the_same_for_everybody(
    minidock: Minidock,
    docker: Docker,
    registry: Registry,
    two_layers: str,
    require: Callable[[str], str],
    tmp_path: Path,
) -> None:
    name = f"{registry.host}/for/all:1"
    minidock.ok("tag", two_layers, name)
    out = minidock.ok("push", name)
    image_id = id_of(minidock, name)
    digest = registry.digest("for/all", "1")
    assert out.splitlines()[-1].startswith(f"1: digest: {digest} size: ")
    by_digest = f"{registry.host}/for/all@{digest}"
    assert minidock.ok("image", "inspect", "-f", "{{.RepoDigests}}", name) == f"[{by_digest}]"

    docker.ok("pull", "-q", name)
    assert docker.ok("image", "inspect", "-f", "{{.Id}} {{.RepoDigests}}", name) == (
        f"{image_id} [{by_digest}]"
    )
    docker.ok("rmi", "-f", image_id)
    require("podman")
    podman = podman_engine.command(tmp_path / "podman")
    pulled = subprocess.run(
        [*podman, "pull", "-q", "--tls-verify=false", name], capture_output=True, check=False
    )
    assert pulled.stdout.decode().strip() == image_id.removeprefix("sha256:"), pulled.stderr
    # Not "system reset", which takes away the locks that all podmans share.
    subprocess.run([*podman, "rmi", "-a", "-f"], capture_output=True, check=False)
    machine.unmount_below(tmp_path / "podman")
    shutil.rmtree(tmp_path / "podman", ignore_errors=True)
    inspected = subprocess.run(
        [require("skopeo"), "inspect", "--tls-verify=false", f"docker://{name}"],
        capture_output=True,
        check=True,
    )
    assert json.loads(inspected.stdout)["Digest"] == digest


def test_what_docker_pulled_and_pushes_again_keeps_its_digest(
    minidock: Minidock, docker: Docker, registry: Registry, two_layers: str
) -> None:
    """The manifest is written as Docker writes it: the same blobs, the same digest."""
    name, again = f"{registry.host}/same:minidock", f"{registry.host}/same:docker"
    minidock.ok("tag", two_layers, name)
    minidock.ok("push", "-q", name)
    docker.ok("pull", "-q", name)
    docker.ok("tag", name, again)
    docker.ok("push", "-q", again)
    assert registry.digest("same", "minidock") == registry.digest("same", "docker")
    minidock.ok("rmi", "-f", name, two_layers)
    minidock.ok("pull", again)
    third = f"{registry.host}/same:again"
    minidock.ok("tag", again, third)
    minidock.ok("push", third)
    assert registry.digest("same", "again") == registry.digest("same", "docker")
    docker.ok("rmi", "-f", name, again)


def test_an_unchanged_layer_is_neither_compressed_nor_sent_twice(
    minidock: Minidock, registry: Registry, proxy: Proxy, two_layers: str
) -> None:
    first, second = f"{proxy.host}/once/a:1", f"{proxy.host}/once/a:2"
    other = f"{proxy.host}/once/b:1"
    for name in (first, second, other):
        minidock.ok("tag", two_layers, name)
    assert minidock.ok("push", first).count(": Pushed") == 2
    assert len(proxy.asked("PATCH")) == 3  # two layers and the config
    proxy.requests.clear()
    assert minidock.ok("push", second).count(": Layer already exists") == 2
    assert proxy.asked("PATCH") == proxy.asked("POST") == []
    proxy.requests.clear()
    assert minidock.ok("push", other).count(": Mounted from once/a") == 2
    assert sum(a.body for a in proxy.asked("PATCH")) < 10_000  # the config only
    assert registry.digest("once/a", "1") == registry.digest("once/b", "1")


def test_a_pushed_image_does_not_depend_on_what_was_pushed_before(
    minidock: Minidock, store: Store, registry: Registry, two_layers: str
) -> None:
    """The memory of a layer's blobs is a memory: without it, or with a wrong one, it is pushed."""
    name = f"{registry.host}/memory:1"
    minidock.ok("tag", two_layers, name)
    minidock.ok("push", "-q", name)
    digest = registry.digest("memory", "1")
    for number, wrong in enumerate((None, b"{", b'[{"digest": "sha256:00", "size": 1}]')):
        for memory in Path(store.layers).glob("*/blobs.json"):
            memory.unlink()
            if wrong is not None:
                memory.write_bytes(wrong)
        other = f"{registry.host}/memory/{number}:1"
        minidock.ok("tag", two_layers, other)
        minidock.ok("push", "-q", other)
        assert registry.digest(f"memory/{number}", "1") == digest


def test_what_a_manifest_says_of_layers_that_are_here_is_not_believed(
    minidock: Minidock, registry: Registry
) -> None:
    """Else a registry could have another blob pushed in the place of a layer."""
    tars = [layer({"f": os.urandom(1000)}), layer({"g": os.urandom(1000)})]
    put_image(registry, "honest", "1", tars)
    lying = put_image(registry, "lying", "base", tars)
    evil = put_image(registry, "lying", "evil", [layer({"evil": os.urandom(1000)}), tars[1]])
    manifest = json.loads(registry.manifest("lying", "evil")[0])
    manifest["config"] = json.loads(registry.manifest("lying", "base")[0])["config"]
    registry.put_manifest("lying", "1", manifest, manifest["mediaType"])
    minidock.ok("pull", f"{registry.host}/honest:1")
    minidock.ok("pull", f"{registry.host}/lying:1")  # all of it is here, and stays what it is
    name = f"{registry.host}/lying:again"
    minidock.ok("tag", f"{registry.host}/honest:1", name)
    minidock.ok("push", name)
    pushed = json.loads(registry.manifest("lying", "again")[0])
    assert pushed["config"]["digest"] == lying.id
    assert evil.layers[0] not in {entry["digest"] for entry in pushed["layers"]}


def test_a_zstd_layer_goes_as_it_came_where_it_is_there_already(
    minidock: Minidock, registry: Registry
) -> None:
    put_image(registry, "zstd", "1", [layer({"f": b"x" * 1000})], compression="zstd")
    name, other = f"{registry.host}/zstd:1", f"{registry.host}/zstd:2"
    minidock.ok("pull", name)
    minidock.ok("tag", name, other)
    minidock.ok("push", other)
    before, after = (json.loads(registry.manifest("zstd", tag)[0]) for tag in ("1", "2"))
    assert after["layers"] == before["layers"] and after["config"] == before["config"]
    assert after["mediaType"] == "application/vnd.oci.image.manifest.v1+json"


def test_all_tags_and_quiet(minidock: Minidock, registry: Registry, busybox_image: str) -> None:
    for tag in ("1", "2"):
        minidock.ok("tag", busybox_image, f"{registry.host}/tags:{tag}")
    out = minidock.ok("push", "-a", f"{registry.host}/tags").splitlines()
    assert [line.partition(":")[0] for line in out if ": digest: " in line] == ["1", "2"]
    assert registry.digest("tags", "1") == registry.digest("tags", "2")
    name = f"{registry.host}/tags:1"
    assert minidock.ok("image", "push", "-q", name) == name
    assert minidock("push", "-a", f"{registry.host}/nothing").code == 1


@pytest.fixture
def fresh_registry(tmp_path: Path) -> Iterator[Registry]:
    """One in which nobody remembers anything."""
    with serve(tmp_path / "fresh") as running:
        yield running


def test_lines_are_dockers(
    minidock: Minidock, docker: Docker, fresh_registry: Registry, two_layers: str, tmp_path: Path
) -> None:
    archive = tmp_path / "two.tar"
    minidock.ok("save", "-o", str(archive), two_layers)
    docker.ok("load", "-i", str(archive))
    said: dict[str, list[str]] = {}
    for engine, ok in {"minidock": minidock.ok, "docker": docker.ok}.items():
        path = f"{fresh_registry.host}/{engine}"
        for name in ("a:1", "a:2", "b:1", "b:latest"):
            ok("tag", two_layers, f"{path}/{name}")
        text = "\n".join(
            ok(*arguments)
            for arguments in (
                ("push", f"{path}/a:1"),
                ("push", f"{path}/a:1"),
                ("push", "-a", f"{path}/a"),
                ("push", f"{path}/b:1"),
                ("push", f"{path}/b"),
                ("push", "-q", f"{path}/b"),
            )
        )
        digest = fresh_registry.digest(f"{engine}/a", "1")  # gzip differs, and so do the blobs
        # Between "Preparing" and the last line the order is that of the moment.
        said[engine] = sorted(text.replace(digest, "DIGEST").replace(engine, "ENGINE").splitlines())
        shutil.rmtree(fresh_registry.root / "docker")  # nobody mounts what the other one pushed
    assert said["minidock"] == said["docker"]
    docker.ok("rmi", "-f", docker.ok("images", "-q", two_layers))


def test_a_layer_whose_files_were_changed_is_not_pushed(
    minidock: Minidock, store: Store, registry: Registry, two_layers: str
) -> None:
    name = f"{registry.host}/changed:1"
    minidock.ok("tag", two_layers, name)
    (changed,) = Path(store.layers).glob("*/diff/random")
    changed.write_bytes(os.urandom(200_000))
    failed = minidock("push", name)
    assert failed.code == 1
    assert "were changed since it was unpacked" in failed.stderr
    listed = minidock("pull", name)
    assert listed.code == 1 and "manifest unknown" in listed.stderr
