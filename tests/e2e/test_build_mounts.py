"""RUN --mount: what a command sees, what stays from build to build, and what no image keeps."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.building import build, content, context, files
from support.command import Minidock

pytestmark = pytest.mark.root


def test_cache_stays_from_build_to_build(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=type=cache,target=/c,mode=700,uid=5,gid=6 "
        "echo x >>/c/count; cat /c/count >/counted; ls -lnd /c >/mode\n",
    )
    build(minidock, "-t", "first", folder)
    build(minidock, "-t", "second", "--no-cache", folder)
    assert content(minidock, "second", tmp_path, "counted") == "x\nx\n"
    assert content(minidock, "second", tmp_path, "mode").split()[:4:2] == ["drwx------", "5"]
    assert "c" not in files(minidock, "second", tmp_path)
    minidock.ok("builder", "prune", "-a", "-f")
    build(minidock, "-t", "third", "--no-cache", folder)
    assert content(minidock, "third", tmp_path, "counted") == "x\n"


def test_secret_is_seen_by_its_command_and_kept_nowhere(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("open sesame")
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image}
RUN --mount=type=secret,id=word wc -c </run/secrets/word >/length; ls -ln /run/secrets/word >/mode
RUN --mount=type=secret,id=env,target=/key,mode=0444 --mount=type=secret,id=none cat /key >/length2
""",
    )
    build(
        minidock, "-t", "secrets", "--secret", f"id=word,src={secret}",
        "--secret", "id=env,env=KEY", folder, env={"KEY": "four"},
    )  # fmt: skip
    assert content(minidock, "secrets", tmp_path, "length").strip() == "11"
    assert content(minidock, "secrets", tmp_path, "mode").startswith("-r--------")
    assert content(minidock, "secrets", tmp_path, "length2") == "four"
    assert not [n for n in files(minidock, "secrets", tmp_path) if n.startswith(("run/", "key"))]
    for directory, _, names in os.walk(minidock.root):
        for name in names:
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                assert b"open sesame" not in path.read_bytes(), path


def test_secret_that_is_required_and_missing(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=type=secret,id=word,required=true true\n",
    )
    done = minidock("build", folder)
    assert done.code == 1
    assert "secret word: not found" in done.stderr


def test_bind_shows_the_context_and_throws_writes_away(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image} AS a
RUN mkdir /made && echo of-a >/made/file
FROM {busybox_image}
RUN --mount=target=/src cat /src/dir/file >/seen; ls /src >/listed; touch /src/x || echo ro >>/seen
RUN --mount=target=/src,source=dir,rw rm /src/file && touch /src/new && ls /src >/after
RUN --mount=from=a,source=/made,target=/made cat /made/file >>/seen
""",
        dir__file="of the context\n",
        ignored="",
        _DOT_dockerignore="ignored\nDockerfile\n.dockerignore\n",
    )
    build(minidock, "-t", "binds", folder)
    assert content(minidock, "binds", tmp_path, "seen") == "of the context\nro\nof-a\n"
    assert content(minidock, "binds", tmp_path, "listed") == "dir\n"
    assert content(minidock, "binds", tmp_path, "after") == "new\n"
    assert os.listdir(tmp_path / "context/dir") == ["file"]
    assert not [n for n in files(minidock, "binds", tmp_path) if n.startswith(("src", "made"))]


def test_bound_files_are_part_of_the_steps_key(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=target=/src,source=used cat /src >/seen\n",
        used="1",
        unused="1",
    )
    first = build(minidock, folder)
    (tmp_path / "context/unused").write_text("2")
    assert build(minidock, folder) == first
    (tmp_path / "context/used").write_text("2")
    assert build(minidock, folder) != first


def test_tmpfs_is_memory(minidock: Minidock, busybox_image: str, tmp_path: Path) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=type=tmpfs,target=/t/u,size=1m "
        "grep ' /t/u ' /proc/mounts >/seen; touch /t/u/x\n",
    )
    build(minidock, "-t", "memory", folder)
    seen = content(minidock, "memory", tmp_path, "seen")
    assert seen.startswith("tmpfs /t/u tmpfs")
    assert "size=1024k" in seen
    assert not [name for name in files(minidock, "memory", tmp_path) if name.startswith("t/")]


def test_locked_cache_is_one_steps_at_a_time(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """Two stages at once; each would see the other's mark if both were inside."""
    step = (
        "RUN --mount=type=cache,id=one,target=/c,sharing=locked "
        "test ! -e /c/inside && touch /c/inside && sleep 0.3 && rm /c/inside && touch /done-"
    )
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image} AS a\n{step}a\nFROM {busybox_image} AS b\n{step}b\n"
        "FROM scratch\nCOPY --from=a /done-a /\nCOPY --from=b /done-b /\n",
    )
    build(minidock, "-t", "locked", folder)
    assert set(files(minidock, "locked", tmp_path)) == {"done-a", "done-b"}


def test_steps_that_wait_for_each_others_caches_come_to_an_end(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    """Two stages lock the same two caches, named in opposite order."""

    def stage(name: str, *ids: str) -> str:
        mounts = " ".join(f"--mount=type=cache,id={i},target=/{i},sharing=locked" for i in ids)
        return f"FROM {busybox_image} AS {name}\nRUN {mounts} sleep 0.2; touch /{name}\n"

    text = stage("a", "one", "two") + stage("b", "two", "one")
    text += "FROM scratch\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    build(minidock, "-t", "both", context(tmp_path / "context", text))
    assert set(files(minidock, "both", tmp_path)) == {"a", "b"}


@pytest.mark.parametrize(
    ("mount", "words"),
    [
        ("type=ssh,target=/s", 'unsupported mount type "ssh"'),
        ("type=nope,target=/s", 'unsupported mount type "nope"'),
        ("type=cache", "target"),
        ("type=bind,target=/x,colour=red", "unexpected key 'colour'"),
        ("type=cache,target=/x,sharing=some", "unsupported sharing value"),
        ("type=bind,target=/x,source=/nope", '"/nope": not found'),
    ],
)
def test_mount_that_cannot_be_is_refused_with_its_line(
    minidock: Minidock, busybox_image: str, tmp_path: Path, mount: str, words: str
) -> None:
    folder = context(tmp_path / "context", f"FROM {busybox_image}\nRUN --mount={mount} true\n")
    done = minidock("build", folder)
    assert done.code == 1, str(done)
    assert words in done.stderr
    assert ">>> RUN" in done.stderr
