"""Names of images, by Docker's grammar."""

from __future__ import annotations

import pytest

from minidock.errors import UsageError
from minidock.oci import reference


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/team/app:x", "docker.io/team/app:x", "team/app:x"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app:1"),
        ("ghcr.io/a/b/c", "ghcr.io/a/b/c", "ghcr.io/a/b/c"),
        ("UPPER/app", "UPPER/app", "UPPER/app"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("a__b/c-d.e---f:T_.-9", "docker.io/a__b/c-d.e---f:T_.-9", "a__b/c-d.e---f:T_.-9"),
    ],
)
def test_reference_has_a_whole_and_a_familiar_form(text: str, whole: str, familiar: str) -> None:
    parsed = reference.parse(text)
    assert str(parsed) == whole
    assert parsed.familiar == familiar


def test_digest_is_kept_and_takes_no_default_tag() -> None:
    digest = "sha256:" + "a" * 64
    parsed = reference.parse(f"app:1@{digest}")
    assert (parsed.tag, parsed.digest) == ("1", digest)
    assert reference.parse(f"app@{digest}").with_default_tag().familiar == f"app@{digest}"
    assert reference.parse("app").with_default_tag().familiar == "app:latest"
    with pytest.raises(UsageError):
        reference.parse_tagged(f"app@{digest}")


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "a:", ":a", "a b", "a/", "/a", "a//b", "-a", "a-", "a..b", "a___b", "a.-b", "Foo",
        "a:b:c", "a:" + "t" * 129, "a:-t", "a@sha256:1", "a@", "a" * 256, "a" * 63 + "A",
        "0123456789abcdef" * 4, "docker.io/", "-host.x/a", "host:port/a", "a\n", "ä", "a/../b",
        "a:ä",
        "host:٣/a",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        reference.parse(text)


def test_capitals_are_refused_with_dockers_message() -> None:
    with pytest.raises(UsageError, match=r"repository name \(library/Foo\) must be lowercase"):
        reference.parse("Foo")
