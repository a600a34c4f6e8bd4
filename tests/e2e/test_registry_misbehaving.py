"""A registry that stalls, breaks off, lies or fails: what goes on, what is said, what stays.

The registry is Debian's; a proxy in front of it does the rest. What came to nothing leaves nothing.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minidock.paths import Store
from support.command import Minidock
from support.misbehaving import (
    Act,
    Proxy,
    content,
    cut_at,
    header,
    misbehaving,
    stalls_at,
    status,
)
from support.patience import patience
from support.registry import Registry, serve
from support.registry_images import Put, layer, put_image

pytestmark = pytest.mark.root
SIZE = 3_000_000
LONG, SHORT = 20, 1  # seconds of patience with a silence; the second where there will be one


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="module")
def image(registry: Registry) -> Put:
    """team/app:1, of three layers, the first of them larger than any buffer on the way."""
    files = [os.urandom(SIZE), os.urandom(300_000), os.urandom(300_000)]
    tars = [layer({f"file{n}": file}) for n, file in enumerate(files)]
    return put_image(registry, "team/app", "1", tars)


@pytest.fixture
def proxy(
    registry: Registry, image: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxy]:
    """The proxy, which minidock is patient with."""
    be_patient(tmp_path, patience(LONG))
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    with misbehaving(registry.host) as running:
        yield running


def be_patient(config: Path, seconds: float) -> None:
    """How long minidock lets a registry be silent before it asks again."""
    (config / "registries.json").write_text(json.dumps({"timeout-seconds": seconds}))


def nothing_is_kept(minidock: Minidock, store: Store) -> bool:
    """No image, no layer, no half of one; and the next command finds the store in order."""
    assert minidock.ok("images", "-aq") == ""
    blobs, layers = os.listdir(store.blobs), os.listdir(store.layers)
    return (blobs, layers, os.listdir(store.staging)) == ([], [], [])


def blob_of(image: Put, number: int = 0) -> str:
    return f"/blobs/{image.layers[number]}"


# --- what is gone on with ------------------------------------------------------------------------

PASSING: dict[str, Act] = {
    "cut off": cut_at(1_000_000),
    "cut off at the first byte": cut_at(0),
    "stalled": stalls_at(1_000_000),
    "500": status(500),
    "429": status(429, Retry_After="1"),
}


@pytest.mark.parametrize("how", PASSING)
def test_a_download_goes_on_where_it_broke_off(
    how: str, minidock: Minidock, image: Put, proxy: Proxy, tmp_path: Path
) -> None:
    if how == "stalled":
        be_patient(tmp_path, patience(SHORT))
    proxy.on("GET", blob_of(image), PASSING[how], times=2)
    minidock.ok("pull", f"{proxy.host}/team/app:1")
    asked = [a.headers.get("Range") for a in proxy.asked("GET", blob_of(image))]
    assert len(asked) == 3
    if how in ("cut off", "stalled"):  # what had come was not sent again
        starts = [int(r.removeprefix("bytes=").removesuffix("-")) for r in asked[1:] if r]
        assert 800_000 <= starts[0] <= 1_000_000 and 1_600_000 <= starts[1] <= 2_000_000
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", f"{proxy.host}/team/app:1") == image.id


def test_a_registry_that_knows_no_ranges_sends_it_all_again(
    minidock: Minidock, image: Put, proxy: Proxy
) -> None:
    proxy.ranges = False
    proxy.on("GET", blob_of(image), cut_at(2_000_000))
    minidock.ok("pull", f"{proxy.host}/team/app:1")
    assert len(proxy.asked("GET", blob_of(image))) == 2


@pytest.mark.parametrize("part", ["/v2/", "/manifests/", "config"])
def test_documents_are_asked_for_again_too(
    part: str, minidock: Minidock, image: Put, proxy: Proxy
) -> None:
    path = f"/blobs/{image.id}" if part == "config" else part
    proxy.on("GET", path, status(502), times=2)
    if part == "config":
        proxy.on("GET", path, cut_at(10))
    minidock.ok("pull", f"{proxy.host}/team/app:1")


# --- what is an error, and leaves nothing --------------------------------------------------------

HOPELESS: dict[str, tuple[Act, str]] = {
    "cut off": (cut_at(100_000), "the registry broke off"),
    "stalled": (stalls_at(100_000), "the registry has sent nothing for"),
    "500": (status(500), "received unexpected HTTP status: 500 Internal Server Error"),
    "404": (
        status(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}'),
        "is incomplete in its registry: blob unknown: blob unknown",
    ),
    "403": (
        status(403, b'{"errors":[{"code":"DENIED","message":"not for you"}]}'),
        "denied: not for you",
    ),
    "another content": (content(lambda c: c[:-1] + b"\1"), "verification failed for digest"),
    "no gzip any more": (content(bytes.upper), "verification failed for digest"),
    "too long": (content(lambda c: c + b"more"), "it is longer than the"),
    "elsewhere by http": (
        status(302, Location="ftp://x/"),
        "which is not a valid http or https URL",
    ),
    "in circles": (status(302, Location="/v2/team/app/blobs/round"), "redirects"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", HOPELESS)
def test_a_layer_that_does_not_come_is_one_clear_error(
    how: str, minidock: Minidock, store: Store, image: Put, proxy: Proxy, tmp_path: Path
) -> None:
    act, words = HOPELESS[how]
    if how == "stalled":
        be_patient(tmp_path, patience(SHORT))
    if how in ("cut off", "stalled"):
        proxy.ranges = False  # so that it never gets ahead
    proxy.on("GET", blob_of(image), act, times=99)
    proxy.on("GET", "/blobs/round", act, times=99)
    failed = minidock("pull", f"{proxy.host}/team/app:1", timeout_seconds=100)
    assert failed.code == 1
    assert failed.stderr.startswith("minidock: ") and words in failed.stderr
    assert failed.stderr.count("minidock: ") == 1 and "Traceback" not in failed.stderr
    assert nothing_is_kept(minidock, store)
    assert len(proxy.asked("GET", blob_of(image))) <= 6


LIES: dict[str, tuple[Act, str]] = {
    "another manifest": (content(lambda c: c.replace(b"sha256", b"sha257")), "verification failed"),
    "another digest": (header("Docker-Content-Digest", "sha256:" + "1" * 64), "it is sha256:"),
    "endless": (status(200, b" " * 5_000_000), "larger than 4 MiB"),
    "no JSON": (status(200, b"<html>Welcome to the hotel's network</html>"), "not a JSON object"),
}


@pytest.mark.parametrize("how", LIES)
def test_a_manifest_that_is_not_what_it_says_is_refused(
    how: str, minidock: Minidock, store: Store, image: Put, proxy: Proxy
) -> None:
    act, words = LIES[how]
    proxy.on("GET", "/manifests/", act, times=99)
    failed = minidock("pull", f"{proxy.host}/team/app:1")
    assert failed.code == 1 and words in failed.stderr, str(failed)
    assert nothing_is_kept(minidock, store)
    by_digest = minidock("pull", f"{proxy.host}/team/app@{image.manifest}")
    assert by_digest.code == (0 if how == "another digest" else 1)  # its own digest is known


def test_what_is_no_registry_is_said_to_be_none(minidock: Minidock, proxy: Proxy) -> None:
    proxy.on("GET", "/v2/", status(404), times=99)
    failed = minidock("pull", f"{proxy.host}/team/app:1")
    assert failed.code == 1 and f"{proxy.host} is not a registry" in failed.stderr


@pytest.mark.parametrize("tag", ["../../_catalog", "a b", "\x1b[2J", ""])
def test_an_invalid_listed_tag_is_refused(
    tag: str, minidock: Minidock, image: Put, proxy: Proxy
) -> None:
    listed = json.dumps({"name": "team/app", "tags": [tag]}).encode()
    proxy.on("GET", "/tags/list", status(200, listed))
    failed = minidock("pull", "-a", f"{proxy.host}/team/app")
    assert failed.code == 1 and "which is not a valid tag" in failed.stderr
    assert "\x1b" not in failed.stderr and proxy.asked("GET", "/manifests/") == []


def test_a_registrys_words_are_safe_for_a_terminal(
    minidock: Minidock, image: Put, proxy: Proxy
) -> None:
    said = json.dumps({"errors": [{"code": "DENIED\x1b[2J", "message": "\x1b]0;title\a\r"}]})
    proxy.on("GET", "/manifests/", status(403, said.encode()))
    failed = minidock("pull", f"{proxy.host}/team/app:1")
    assert failed.code == 1 and "denied" in failed.stderr
    assert all(c.isprintable() or c == "\n" for c in failed.stderr)


# --- giving up -----------------------------------------------------------------------------------


def start_stalled(
    minidock: Minidock, image: Put, proxy: Proxy, tmp_path: Path
) -> subprocess.Popen[bytes]:
    """A pull that waits for a layer, and would for long."""
    be_patient(tmp_path, 100)
    proxy.on("GET", blob_of(image), stalls_at(1_000_000), times=99)
    pull = minidock.start("pull", f"{proxy.host}/team/app:1")
    deadline = time.monotonic() + patience(20)
    staged = Path(minidock.root) / "staging"
    while not any(staged.glob("pull-*/*/diff/file0")):
        assert time.monotonic() < deadline and pull.poll() is None
        time.sleep(0.02)
    return pull


def test_ctrl_c_ends_a_pull_at_once_and_leaves_nothing(
    minidock: Minidock, store: Store, image: Put, proxy: Proxy, tmp_path: Path
) -> None:
    pull = start_stalled(minidock, image, proxy, tmp_path)
    others = (blob_of(image, 1), blob_of(image, 2))  # they come while the first layer is waited for
    deadline = time.monotonic() + patience(20)
    while not all(proxy.asked("GET", other) for other in others):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    pull.send_signal(signal.SIGINT)
    _, err = pull.communicate(timeout=patience(10))
    assert (pull.returncode, err) == (130, b"")
    assert os.listdir(store.staging) == []
    assert nothing_is_kept(minidock, store)


def test_a_pull_that_is_killed_leaves_nothing_after_the_next_command(
    minidock: Minidock, store: Store, image: Put, proxy: Proxy, tmp_path: Path, registry: Registry
) -> None:
    pull = start_stalled(minidock, image, proxy, tmp_path)
    pull.kill()
    pull.communicate()
    assert os.listdir(store.layers) == []
    minidock.ok("pull", f"{registry.host}/team/app:1")
    assert os.listdir(store.staging) == []
    minidock.ok("rmi", "-f", f"{registry.host}/team/app:1")


def test_two_pulls_of_one_image_at_once(
    minidock: Minidock, store: Store, registry: Registry
) -> None:
    put_image(registry, "at/once", "1", [layer({f"f{n}": os.urandom(500_000)}) for n in range(4)])
    name = f"{registry.host}/at/once:1"
    pulls = [minidock.start("pull", "-q", name) for _ in range(3)]
    for pull in pulls:
        out, err = pull.communicate(timeout=patience(60))
        assert (pull.returncode, out, err) == (0, f"{name}\n".encode(), b"")
    assert len(os.listdir(store.layers)) == 4 and os.listdir(store.staging) == []


# --- where a redirect leads ----------------------------------------------------------------------


def test_a_blob_may_be_elsewhere_and_the_password_does_not_go_there(
    minidock: Minidock, image: Put, proxy: Proxy, registry: Registry, tmp_path: Path
) -> None:
    secret = {"auths": {proxy.host: {"auth": "c3R1ZGVudDpzZWNyZXQ="}}}
    (tmp_path / "config.json").write_text(json.dumps(secret))
    demand = status(401, WWW_Authenticate='Basic realm="x"')
    with misbehaving(registry.host) as elsewhere:
        proxy.on("GET", "/v2/", demand)
        moved = f"http://{elsewhere.host}/v2/team/app{blob_of(image)}"
        proxy.on("GET", blob_of(image), status(307, Location=moved))
        name = f"{proxy.host}/team/app:1"
        minidock.ok("pull", name, env={"DOCKER_CONFIG": str(tmp_path)})
        (asked,) = elsewhere.asked("GET", "/blobs/")
        assert "Authorization" not in asked.headers
    sent = [a.headers.get("Authorization") for a in proxy.asked("GET", "/v2/team/")]
    assert set(sent) == {"Basic c3R1ZGVudDpzZWNyZXQ="}


# --- pushing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "part", "act"),
    [
        ("PATCH", "/uploads/", status(500)),
        ("PATCH", "/uploads/", cut_at(0)),
        ("POST", "/uploads/", status(503)),
        ("PUT", "/uploads/", status(500)),
        ("PUT", "/manifests/", status(502)),
        ("HEAD", "/blobs/", status(429, Retry_After="1")),
    ],
)
def test_a_push_tries_again(
    method: str, part: str, act: Act, minidock: Minidock, busybox_image: str, proxy: Proxy
) -> None:
    name = f"{proxy.host}/pushed/{method.lower()}:1"
    minidock.ok("tag", busybox_image, name)
    proxy.on(method, part, act)
    minidock.ok("push", name)
    image_id = minidock.ok("image", "inspect", "-f", "{{.Id}}", name)
    minidock.ok("rmi", "-f", image_id)
    minidock.ok("pull", name)
    assert minidock.ok("image", "inspect", "-f", "{{.Id}}", name) == image_id


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (status(403, b'{"errors":[{"code":"DENIED","message":"read only"}]}'), "denied: read only"),
        (status(500), "received unexpected HTTP status: 500"),
        (status(202), "without a Location header"),
    ],
)
def test_a_push_that_is_refused_is_one_clear_error(
    act: Act, words: str, minidock: Minidock, store: Store, busybox_image: str, proxy: Proxy
) -> None:
    name = f"{proxy.host}/refused:1"
    minidock.ok("tag", busybox_image, name)
    proxy.on("POST", "/uploads/", act, times=99)
    failed = minidock("push", name)
    assert failed.code == 1 and words in failed.stderr, str(failed)
    assert minidock.ok("image", "inspect", "-f", "{{.RepoDigests}}", name) == "[]"
    assert os.listdir(store.staging) == []
