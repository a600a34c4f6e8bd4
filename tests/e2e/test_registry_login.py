"""Who we are to a registry: passwords, tokens, helpers, certificates; Docker's own config.json."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from support.command import Minidock, command_line, environment
from support.docker_daemon import Docker
from support.misbehaving import misbehaving
from support.patience import patience
from support.registry import PASSWORD, USER, Authority, Registry, serve
from support.registry_images import layer, put_image
from support.token_server import REFRESH, TokenServer, serve_tokens

pytestmark = pytest.mark.root
ENTRY = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that asks for a password."""
    with serve(tmp_path_factory.mktemp("guarded"), passwords=True) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own config.json, which is not there yet."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


def log_in(minidock: Minidock, host: str) -> None:
    out = minidock.ok("login", "-u", USER, "--password-stdin", host, stdin=PASSWORD + "\n")
    assert out == "Login Succeeded"


# --- passwords -----------------------------------------------------------------------------------


def test_login_push_pull_logout(
    minidock: Minidock, guarded: Registry, busybox_image: str, config: Path
) -> None:
    name = f"{guarded.host}/private:1"
    minidock.ok("tag", busybox_image, name)
    refused = minidock("push", name)
    assert refused.code == 1 and "no basic auth credentials" in refused.stderr
    assert f"minidock login {guarded.host}" in refused.stderr

    wrong = minidock("login", "-u", USER, "-p", "wrong", guarded.host)
    assert wrong.code == 1 and "unauthorized" in wrong.stderr
    assert "insecure. Use --password-stdin" in wrong.stderr and not config.exists()

    log_in(minidock, guarded.host)
    assert json.loads(config.read_text()) == {"auths": {guarded.host: ENTRY}}
    assert config.stat().st_mode & 0o777 == 0o600
    minidock.ok("push", name)
    minidock.ok("rmi", "-f", name, busybox_image)
    assert minidock.ok("run", "--rm", "--net", "none", "-q", name, "echo", "hi") == "hi"

    said = minidock.ok("logout", guarded.host)
    assert said == f"Removing login credentials for {guarded.host}"
    assert json.loads(config.read_text()) == {"auths": {}}
    refused = minidock("pull", name)
    assert refused.code == 1 and "no basic auth credentials" in refused.stderr
    minidock.ok("logout", guarded.host)  # as docker: that there was nothing is no error


def test_one_login_serves_docker_and_minidock(
    minidock: Minidock, docker: Docker, guarded: Registry, busybox_image: str, config: Path
) -> None:
    name = f"{guarded.host}/both:1"
    minidock.ok("tag", busybox_image, name)
    docker.ok("--config", str(config.parent), "login", "-u", USER, "-p", PASSWORD, guarded.host)
    minidock.ok("push", name)
    minidock.ok("logout", guarded.host)
    log_in(minidock, guarded.host)
    docker.ok("--config", str(config.parent), "pull", "-q", name)
    docker.ok("rmi", "-f", name)


def test_what_else_is_in_config_json_stays(
    minidock: Minidock, guarded: Registry, config: Path
) -> None:
    config.parent.mkdir()
    before = {"detachKeys": "ctrl-x", "auths": {"other:5000": {"auth": "YTpi"}}, "psFormat": "x"}
    config.write_text(json.dumps(before))
    log_in(minidock, f"http://{guarded.host}/v2/")
    after = json.loads(config.read_text())
    assert after.pop("auths") == {**before.pop("auths"), guarded.host: ENTRY}  # type: ignore[dict-item]
    assert after == before
    config.write_text("{damaged")
    failed = minidock("login", "-u", USER, "-p", PASSWORD, guarded.host)
    assert failed.code == 1 and "Error loading config file" in failed.stderr
    assert config.read_text() == "{damaged"


def test_login_asks_on_a_terminal(minidock: Minidock, guarded: Registry, config: Path) -> None:
    command, *words = [*command_line(), "login", guarded.host]
    child = pexpect.spawn(
        command,
        words,
        env=environment(minidock.root),  # type: ignore[arg-type]
        encoding="utf-8",
        timeout=patience(20),
    )
    child.expect("Username: ")
    child.sendline(USER)
    child.expect("Password: ")
    child.sendline(PASSWORD)
    child.expect("Login Succeeded")
    child.expect(pexpect.EOF)
    assert PASSWORD not in child.before
    child.close()
    assert child.exitstatus == 0
    assert guarded.host in json.loads(config.read_text())["auths"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("login", "HOST"), "Cannot perform an interactive login from a non TTY device"),
        (("login", "--password-stdin", "HOST"), "Must provide --username with --password-stdin"),
        (
            ("login", "-u", "a", "-p", "b", "--password-stdin", "HOST"),
            "--password and --password-stdin are mutually exclusive",
        ),
        (("login", "-u", "a", "-p", "b", "127.0.0.1:1"), "connection refused"),
        (("search", "nginx"), "search is not available"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], words: str, minidock: Minidock, guarded: Registry, config: Path
) -> None:
    result = minidock(*(a.replace("HOST", guarded.host) for a in arguments), stdin="")
    assert result.code == 1 and words in result.stderr
    assert not config.exists()


# --- helpers -------------------------------------------------------------------------------------

HELPER = """#!/bin/sh
# docker-credential-test: keeps one registry's credentials in a file beside itself
store=$(dirname "$0")/kept
case $1 in
store) cat >"$store" ;;
get) [ -e "$store" ] || { echo "credentials not found in native keychain"; exit 1; }
     cat "$store" ;;
erase) rm -f "$store" ;;
esac
"""


@pytest.mark.parametrize("setting", ["credsStore", "credHelpers"])
def test_a_credential_helper_keeps_the_password(
    setting: str,
    minidock: Minidock,
    guarded: Registry,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    helper = tmp_path / "docker-credential-test"
    helper.write_text(HELPER)
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config.parent.mkdir()
    value = "test" if setting == "credsStore" else {guarded.host: "test"}
    config.write_text(json.dumps({setting: value}))
    nosuch = f"{guarded.host}/nosuch"
    assert "no basic auth" in minidock("pull", nosuch).stderr
    log_in(minidock, guarded.host)
    assert PASSWORD in (tmp_path / "kept").read_text()
    assert json.loads(config.read_text())["auths"] == {guarded.host: {}}
    assert "manifest unknown" in minidock("pull", nosuch).stderr
    minidock.ok("logout", guarded.host)
    assert not (tmp_path / "kept").exists()
    helper.unlink()
    missing = minidock("pull", nosuch)
    assert missing.code == 1 and "docker-credential-test" in missing.stderr


# --- tokens --------------------------------------------------------------------------------------


@pytest.fixture
def tokens(authority: Authority) -> Iterator[TokenServer]:
    with serve_tokens(authority) as running:
        yield running


@pytest.fixture
def token_registry(authority: Authority, tokens: TokenServer, tmp_path: Path) -> Iterator[Registry]:
    """A registry that sends every client to the token server."""
    home = tmp_path / "registry"
    with serve(home, token_server=tokens.url, token_authority=authority) as running:
        yield running


def test_tokens_are_asked_for_what_is_to_be_done(
    minidock: Minidock,
    tokens: TokenServer,
    token_registry: Registry,
    busybox_image: str,
    config: Path,
) -> None:
    name, other = f"{token_registry.host}/team/app:1", f"{token_registry.host}/team/b:1"
    for tag in (name, other):
        minidock.ok("tag", busybox_image, tag)
    refused = minidock("push", name)
    assert refused.code == 1
    wrong = minidock("login", "-u", USER, "-p", "wrong", token_registry.host)
    assert wrong.code == 1 and "incorrect username or password" in wrong.stderr
    log_in(minidock, token_registry.host)
    tokens.asked.clear()
    minidock.ok("push", name)
    assert tokens.asked == [(("repository:team/app:pull,push",), USER)]
    tokens.asked.clear()
    assert ": Mounted from team/app" in minidock.ok("push", other)
    both = ("repository:team/b:pull,push", "repository:team/app:pull")
    assert (both, USER) in tokens.asked
    minidock.ok("rmi", "-f", name, other, busybox_image)
    minidock.ok("logout", token_registry.host)
    denied = minidock("pull", name)
    assert denied.code == 1
    assert f"pull access denied for {token_registry.host}/team/app" in denied.stderr
    tokens.public.add("team/app")
    tokens.asked.clear()
    minidock.ok("pull", name)
    assert set(tokens.asked) == {(("repository:team/app:pull",), "")}


def test_an_identity_token_takes_the_passwords_place(
    minidock: Minidock,
    tokens: TokenServer,
    token_registry: Registry,
    busybox_image: str,
    config: Path,
) -> None:
    tokens.gives_identity = True
    log_in(minidock, token_registry.host)
    (entry,) = json.loads(config.read_text())["auths"].values()
    assert entry["identitytoken"] == REFRESH
    assert PASSWORD not in base64.b64decode(entry["auth"]).decode()
    name = f"{token_registry.host}/team/app:1"
    minidock.ok("tag", busybox_image, name)
    minidock.ok("push", name)
    minidock.ok("pull", name)


# --- TLS -----------------------------------------------------------------------------------------


def test_a_certificate_is_checked_by_the_registrys_own_authority(
    minidock: Minidock,
    authority: Authority,
    busybox_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    with serve(tmp_path / "registry", authority=authority) as registry:
        name = f"{registry.host}/secure:1"
        minidock.ok("tag", busybox_image, name)
        minidock.ok("push", name)  # on loopback any certificate does, as with docker
        trusted = tmp_path / "certs.d" / registry.host
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(authority.certificate.read_bytes())
        minidock.ok("pull", name)
        (trusted / "ca.crt").write_bytes(Authority(tmp_path / "other").certificate.read_bytes())
        refused = minidock("pull", name)
        assert refused.code == 1
        assert "tls: failed to verify certificate" in refused.stderr
        assert f"certs.d/{registry.host}/ca.crt" in refused.stderr
        (trusted / "ca.crt").write_text("nonsense")
        damaged = minidock("pull", name)
        assert damaged.code == 1 and "cannot use the certificate" in damaged.stderr


def test_a_registry_may_want_a_certificate_of_ours(
    minidock: Minidock,
    authority: Authority,
    busybox_image: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    with serve(tmp_path / "registry", authority=authority, clients=authority) as registry:
        name = f"{registry.host}/mutual:1"
        minidock.ok("tag", busybox_image, name)
        trusted = tmp_path / "certs.d" / registry.host
        trusted.mkdir(parents=True)
        (trusted / "ca.crt").write_bytes(authority.certificate.read_bytes())
        refused = minidock("push", name)
        assert refused.code == 1 and "certificate required" in refused.stderr
        (trusted / "us.cert").write_bytes(authority.server_certificate.read_bytes())
        (trusted / "us.key").write_bytes(authority.server_key.read_bytes())
        minidock.ok("push", name)
        minidock.ok("pull", name)


def test_https_is_insisted_on_where_an_authority_is_set(
    minidock: Minidock,
    authority: Authority,
    guarded: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    trusted = tmp_path / "certs.d" / guarded.host
    trusted.mkdir(parents=True)
    (trusted / "ca.crt").write_bytes(authority.certificate.read_bytes())
    refused = minidock("pull", f"{guarded.host}/x")
    assert refused.code == 1
    assert "http: server gave HTTP response to HTTPS client" in refused.stderr


# --- proxies and mirrors -------------------------------------------------------------------------


def test_mirrors_are_asked_before_docker_hub(
    minidock: Minidock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    with serve(tmp_path / "a") as empty, serve(tmp_path / "b") as full:
        settings = {
            "registry-mirrors": [
                "http://127.0.0.1:1",
                f"http://{empty.host}",
                f"http://{full.host}",
            ],
            "blocked-registries": ["docker.io"],
        }
        (tmp_path / "registries.json").write_text(json.dumps(settings))
        put = put_image(full, "library/mirrored", "latest", [layer({"f": b"x"})])
        out = minidock.ok("pull", "mirrored").splitlines()
        assert out[-1] == "docker.io/library/mirrored:latest"
        assert minidock.ok("image", "inspect", "-f", "{{.RepoDigests}}", "mirrored") == (
            f"[mirrored@{put.manifest}]"
        )
        missing = minidock("pull", "nosuch")
        assert missing.code == 1 and "manifest for nosuch:latest not found" in missing.stderr
        pushed = minidock("push", "mirrored")
        assert pushed.code == 1 and "the registry docker.io is blocked" in pushed.stderr


def test_the_environments_proxy_is_asked_with_its_password(
    minidock: Minidock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """registry.test has no address at all; the proxy knows where it is."""
    monkeypatch.setenv("MINIDOCK_CONFIG", str(tmp_path))
    (tmp_path / "registries.json").write_text('{"insecure-registries": ["registry.test:5000"]}')
    with serve(tmp_path / "registry") as registry, misbehaving(registry.host) as proxy:
        put = put_image(registry, "behind", "1", [layer({"f": b"x"})])
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://me:p%40ss@{proxy.host}")
        minidock.ok("pull", "registry.test:5000/behind:1")
        (asked,) = proxy.asked("GET", f"/blobs/{put.layers[0]}")
        given = asked.headers["proxy-authorization"].removeprefix("Basic ")
        assert base64.b64decode(given) == b"me:p@ss"
        monkeypatch.setenv("NO_PROXY", "registry.test")
        refused = minidock("pull", "registry.test:5000/behind:1")
        assert refused.code == 1 and "lookup: " in refused.stderr
