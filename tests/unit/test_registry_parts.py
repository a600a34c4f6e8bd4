"""Registries without one: whom to ask, what answers mean, which platform fits, whose password."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from minidock.engine.registry import credentials, origins
from minidock.engine.registry.auth import parse_challenges
from minidock.engine.registry.proxy import proxy_for
from minidock.engine.registry.reachability import reach
from minidock.engine.registry.settings import DOCKER_HUB, Settings
from minidock.errors import MinidockError, RegistryError, UsageError
from minidock.oci import manifest
from minidock.oci.platform import Platform, parse_platform
from minidock.paths import Store

# --- whom to ask ---------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def asked(domain: str, **options: bool) -> list[tuple[str, str, bool]]:
    found = Settings().endpoints(domain, **options)
    return [(e.host, e.scheme, e.verify) for e in found]


@pytest.mark.parametrize(
    ("domain", "scheme", "verify"),
    [
        ("registry.example", "https", True),
        ("registry.example:5000", "https", True),
        ("192.0.2.7:5000", "https", True),
        ("localhost", "", False),
        ("localhost:5000", "", False),
        ("127.0.0.1:5000", "", False),
        ("127.9.9.9", "", False),
        ("[::1]:5000", "", False),
        ("localhost.example", "https", True),
    ],
)
def test_only_loopback_may_do_without_https(
    domain: str, scheme: str, verify: bool, config: Path
) -> None:
    assert asked(domain) == [(domain, scheme, verify)]


def test_the_administrator_lists_others(config: Path) -> None:
    listed = ["build:5000", "plain", "10.0.0.0/8", "fd00::/8"]
    (config / "registries.json").write_text(json.dumps({"insecure-registries": listed}))
    for host in ("build:5000", "plain", "plain:80", "10.1.2.3:5000", "[fd00::1]:5000"):
        assert asked(host) == [(host, "", False)], host
    for host in ("build:5001", "build", "11.1.2.3", "[fe00::1]:5000", "10.example"):
        assert asked(host) == [(host, "https", True)], host


def test_docker_io_is_served_elsewhere_and_by_mirrors_first(config: Path) -> None:
    assert asked("docker.io") == [(DOCKER_HUB, "https", True)]
    settings = {"registry-mirrors": ["https://a.example/", "http://127.0.0.1:5000"]}
    (config / "registries.json").write_text(json.dumps(settings))
    mirrors = [("a.example", "https", True), ("127.0.0.1:5000", "http", False)]
    assert asked("docker.io") == [*mirrors, (DOCKER_HUB, "https", True)]
    assert asked("docker.io", mirrors=False) == [(DOCKER_HUB, "https", True)]
    assert asked("other.example") == [("other.example", "https", True)]
    (config / "registries.json").write_text(json.dumps({"blocked-registries": ["docker.io"]}))
    assert asked("docker.io") == []


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"insecure-registries": "x"}',
        '{"blocked-registries": [1]}',
        '{"timeout-seconds": "long"}',
        '{"timeout-seconds": 0}',
        '{"registry-mirrors": ["a.example"]}',
        '{"registry-mirrors": ["https://a.example/path"]}',
    ],
)
def test_settings_that_make_no_sense_are_refused(text: str, config: Path) -> None:
    (config / "registries.json").write_text(text)
    with pytest.raises(UsageError):
        Settings().endpoints("docker.io")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://registry.example/v2/", "http://proxy:3128"),
        ("http://registry.example/v2/", "http://other:8080"),
        ("https://inside.example:5000/v2/", ""),
        ("https://127.0.0.1:5000/v2/", ""),
        ("http://localhost:5000/v2/", ""),
        ("https://[::1]:5000/v2/", ""),
    ],
)
def test_the_environment_names_proxies(
    url: str, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "proxy:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://other:8080")
    monkeypatch.setenv("NO_PROXY", "inside.example,10.0.0.1")
    assert proxy_for(url) == proxy


def test_a_server_is_reached_or_missed_within_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reach("127.0.0.1", server.getsockname()[1], seconds=5)
        reach("localhost", server.getsockname()[1], seconds=5)
        port = server.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        reach("127.0.0.1", port, seconds=5)
    # A server whose queue is full answers nothing at all, as one behind a firewall.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        waiting = [socket.socket() for _ in range(8)]
        for attempt in waiting:
            attempt.setblocking(False)
            attempt.connect_ex(server.getsockname())
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            reach("127.0.0.1", server.getsockname()[1], seconds=0.3)
        assert time.monotonic() - before < 5
        for attempt in waiting:
            attempt.close()


# --- what is demanded ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="Registry Realm"', [("basic", {"realm": "Registry Realm"})]),
        (
            'Bearer realm="https://auth.example/token",service="r",scope="repository:a:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "r",
                        "scope": "repository:a:pull,push",
                    },
                )
            ],
        ),
        (
            'Basic realm="a, b", Bearer realm = "c\\"d" , error=invalid_token',
            [("basic", {"realm": "a, b"}), ("bearer", {"realm": 'c"d', "error": "invalid_token"})],
        ),
        ("NEGOTIATE", [("negotiate", {})]),
        ("", []),
    ],
)
def test_challenges_are_read(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(c.scheme, c.parameters) for c in parse_challenges(header)] == expected


@given(st.text(alphabet=st.sampled_from(' ,="\\abcBearer\t/:'), max_size=60) | st.text())
def test_any_challenge_is_read_without_an_exception(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


# --- manifests -----------------------------------------------------------------------------------

DESCRIPTOR = {"digest": "sha256:" + "0" * 64, "size": 1}
CONFIG = {**DESCRIPTOR, "mediaType": manifest.DOCKER_CONFIG}


def parsed(document: object) -> object:
    return manifest.parse_manifest(json.dumps(document).encode(), "", "image:1")


def test_a_manifest_and_an_index_are_distinguished() -> None:
    found = parsed({"config": CONFIG, "layers": [DESCRIPTOR, DESCRIPTOR]})
    assert isinstance(found, manifest.ImageManifest) and len(found.layers) == 2
    assert parsed({"manifests": [DESCRIPTOR]}) == [DESCRIPTOR]


@pytest.mark.parametrize(
    "document",
    [
        [],
        None,
        {"schemaVersion": 1},
        {"config": CONFIG},
        {"config": CONFIG, "layers": [{}]},
        {"config": CONFIG, "layers": [{**DESCRIPTOR, "digest": "md5:00"}]},
        {"config": CONFIG, "layers": [{**DESCRIPTOR, "size": -1}]},
        {"config": {**CONFIG, "mediaType": "text/plain"}, "layers": []},
        {"config": "x", "layers": []},
        {"layers": []},
        {"manifests": {}},
    ],
)
def test_what_is_no_manifest_is_refused(document: object) -> None:
    with pytest.raises(RegistryError):
        parsed(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                "config layers manifests mediaType digest size platform os architecture".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(JSON)
@example({"config": CONFIG, "layers": [DESCRIPTOR]})
@example({"manifests": [{**DESCRIPTOR, "platform": {"os": "linux", "architecture": "amd64"}}]})
def test_any_document_is_a_manifest_or_a_registry_error(document: object) -> None:
    try:
        found = parsed(document)
        if isinstance(found, list):
            assert manifest.choose_manifest(found, Platform("amd64"), "image:1") in found
    except RegistryError:
        return
    assert isinstance(found, list | manifest.ImageManifest)


def chosen(platform: str, *offered: str) -> str:
    entries = []
    for text in offered:
        system, machine, *variant = text.split("/")
        described = {"os": system, "architecture": machine}
        entries.append(
            {"is": text, "platform": {**described, **({"variant": variant[0]} if variant else {})}}
        )
    found = manifest.choose_manifest(entries, parse_platform(platform), "image:1")
    return str(found["is"])


def test_the_best_platform_is_chosen() -> None:
    arms = ("linux/arm/v5", "linux/arm/v6", "linux/arm/v7")
    assert chosen("linux/arm", *arms) == "linux/arm/v7"
    assert chosen("linux/arm/v6", *arms) == "linux/arm/v6"
    assert chosen("linux/arm/v7", *arms[:2]) == "linux/arm/v6"
    assert chosen("arm64", "linux/arm64", "linux/amd64") == "linux/arm64"
    assert chosen("linux/aarch64", "linux/arm64/v8") == "linux/arm64/v8"
    assert chosen("linux/amd64", "windows/amd64", "linux/amd64") == "linux/amd64"
    for platform, offered in (
        ("linux/amd64", "windows/amd64"),
        ("linux/amd64", "linux/arm64"),
        ("linux/arm/v6", "linux/arm/v7"),
        ("linux/amd64", "unknown/unknown"),
    ):
        with pytest.raises(RegistryError, match="no matching manifest for"):
            chosen(platform, offered)


@pytest.mark.parametrize("text", ["windows", "linux/nosuch", "linux/arm/v7/x", "a b", "/"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_platform(text)


# --- credentials ---------------------------------------------------------------------------------


def written(config: Path, document: object) -> None:
    (config / "config.json").write_text(json.dumps(document))


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("r.example:5000", "r.example:5000"),
        ("https://r.example:5000", "r.example:5000"),
        ("http://r.example:5000/v1/", "r.example:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
    ],
)
def test_credentials_are_found_by_every_spelling(key: str, domain: str, config: Path) -> None:
    written(config, {"auths": {key: {"auth": packed("me:pass:word")}}})
    found = credentials.find(domain)
    assert found is not None and (found.user, found.password) == ("me", "pass:word")
    assert found.basic() == "Basic " + packed("me:pass:word")
    assert credentials.find("other.example") is None
    credentials.erase(domain)
    assert credentials.find(domain) is None


def test_damaged_credentials_are_refused(config: Path) -> None:
    for entry in ({"auth": "%%%"}, {"auth": packed("nocolon")}, {"auth": 5}):
        written(config, {"auths": {"r.example": entry}})
        with pytest.raises(MinidockError):
            credentials.find("r.example")
    for document in ({"auths": []}, {"auths": {"r.example": "x"}}, {"auths": {"r.example": {}}}):
        written(config, document)
        assert credentials.find("r.example") is None
    written(config, {"credsStore": "../../evil"})
    with pytest.raises(UsageError):
        credentials.find("r.example")


def test_config_json_may_be_a_link(config: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    real.write_text("{}")
    (config / "config.json").symlink_to(real)
    credentials.store("r.example", credentials.Credentials("me", "word"))
    assert (config / "config.json").is_symlink()
    assert json.loads(real.read_text()) == {"auths": {"r.example": {"auth": packed("me:word")}}}


# --- what is remembered of a layer ---------------------------------------------------------------


def test_a_layers_blobs_are_remembered_within_limits(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    chain_id = "sha256:" + "a" * 64
    Path(store.layer(chain_id)).mkdir(parents=True)
    assert origins.list_blobs(store, chain_id) == []
    for number in range(40):
        blob = origins.Blob(f"sha256:{number % 10:064x}", number % 10, "type")
        origins.add_blob(store, chain_id, blob, f"host/path{number}")
    known = origins.list_blobs(store, chain_id)
    assert len(known) == 8 and known[0].digest == f"sha256:{9:064x}"
    assert known[0].at[0] == "host/path39" and known[0].size == 9
    origins.add_blob(store, "sha256:" + "b" * 64, known[0], "host/path")  # a layer that is gone
