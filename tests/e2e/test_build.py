"""`build`: names, files, flags, and what an image that it made is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.building import build, content, context, files, image, layers
from support.command import Minidock
from support.patience import patience
from support.registry import serve

pytestmark = pytest.mark.root


def test_built_image_runs_its_command(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image}
ENV GREETING="good morning"
RUN echo "$GREETING from $PWD" >/said
WORKDIR /srv
COPY name.txt .
CMD cat /said name.txt
""",
        name_DOT_txt="Alice\n",
    )
    build(minidock, "-t", "hello", folder)
    ran = minidock.ok("run", "--rm", "--network", "none", "hello")
    assert ran == "good morning from /\nAlice"


def test_several_tags_and_the_id_in_a_file(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /\n", a="a")
    id_file = tmp_path / "id"
    said = build(minidock, "-t", "one", "-t", "two:2", "--iidfile", str(id_file), folder)
    assert id_file.read_text() == said == image(minidock, "one")["Id"]
    assert image(minidock, said)["RepoTags"] == ["one:latest", "two:2"]


def test_progress_is_on_stderr_and_names_each_step(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /\nCOPY a /b\n", a="a")
    done = minidock("build", "-t", "steps", folder)
    assert (done.code, done.stdout) == (0, ""), str(done)
    for line in ("[1/2] COPY a /", "[2/2] COPY a /b", "naming to docker.io/library/steps"):
        assert line in done.stderr


def test_image_whose_tag_moves_on_becomes_none(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /\n", a="old")
    old = build(minidock, "-t", "app", folder)
    (tmp_path / "context/a").write_text("new")
    build(minidock, "-t", "app", folder)
    assert image(minidock, old)["RepoTags"] == []
    assert old[7:19] in minidock.ok("images", "-q", "--filter", "dangling=true").split()
    shown = [line.split() for line in minidock.ok("images").splitlines()]
    assert ["<none>", "<none>", old[7:19]] in [columns[:3] for columns in shown]


def test_stages_that_the_target_does_not_need_are_not_built(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        """\
FROM scratch AS base
COPY a /base
FROM image-that-is-nowhere AS unused
RUN false
FROM base AS wanted
COPY a /wanted
FROM base
COPY a /last
""",
        a="a",
    )
    build(minidock, "-t", "last", folder)
    assert set(files(minidock, "last", tmp_path)) == {"base", "last"}
    build(minidock, "-t", "wanted", "--target", "WANTED", folder)
    assert set(files(minidock, "wanted", tmp_path)) == {"base", "wanted"}
    done = minidock("build", "--target", "nope", folder)
    assert done.code == 1
    assert 'target stage "nope" could not be found' in done.stderr


def test_dockerfile_of_another_place(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM nowhere\n", a="a")
    outside = tmp_path / "Other"
    outside.write_text("FROM scratch\nCOPY a /outside\n")
    build(minidock, "-t", "outside", "-f", str(outside), folder)
    assert set(files(minidock, "outside", tmp_path)) == {"outside"}
    piped = "FROM scratch\nCOPY a /piped\n"
    build(minidock, "-t", "piped", "-f", "-", folder, stdin=piped)
    assert set(files(minidock, "piped", tmp_path)) == {"piped"}


def test_dockerfile_alone_on_stdin(minidock: Minidock, tmp_path: Path) -> None:
    build(minidock, "-t", "alone", "-", stdin="FROM scratch\nCOPY <<a /\nhello\na\n")
    assert content(minidock, "alone", tmp_path, "a") == "hello\n"


def test_labels_of_the_command_line_come_last(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nLABEL a=1 b=1\nCOPY x /\n", x="")
    build(minidock, "-t", "labels", "--label", "b=2", "--label", "c=3", folder)
    assert image(minidock, "labels")["Config"]["Labels"] == {"a": "1", "b": "2", "c": "3"}


def test_build_args_reach_from_and_stages_and_unused_ones_are_reported(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        """\
ARG BASE=nowhere
ARG GLOBAL=global
FROM $BASE
ARG GLOBAL
ARG OWN=default
LABEL said="$GLOBAL ${OWN} $TARGETARCH"
COPY x /
""",
        x="",
    )
    done = minidock(
        *("build", "-t", "args", "--build-arg", "BASE=scratch", "--build-arg", "OWN"),
        *("--build-arg", "NOBODY=1", "--build-arg", "HTTP_PROXY=http://proxy", folder),
        env={"OWN": "from the environment"},
    )
    assert done.code == 0, str(done)
    assert image(minidock, "args")["Config"]["Labels"] == {"said": "global from the environment "}
    assert "build-args [NOBODY] were not consumed" in done.stderr


def test_blank_line_inside_an_instruction_is_reported(minidock: Minidock, tmp_path: Path) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a \\\n\n  /b\n", a="")
    done = minidock("build", folder)
    assert done.code == 0, str(done)
    assert "Empty continuation line found in: COPY a   /b\n" in done.stderr


def test_proxy_is_seen_by_run_and_kept_by_nobody(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", f"FROM {busybox_image}\nRUN echo $HTTP_PROXY >/seen\n")
    build(minidock, "-t", "proxy", "--build-arg", "HTTP_PROXY=http://proxy:1", folder)
    assert content(minidock, "proxy", tmp_path, "seen") == "http://proxy:1\n"
    shown = minidock.ok("image", "inspect", "proxy") + minidock.ok("history", "--no-trunc", "proxy")
    assert "http://proxy:1" not in shown


def test_triggers_are_carried_out_where_the_image_is_a_base(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context", "FROM scratch\nONBUILD COPY x /from-trigger\nCOPY x /\n", x="x"
    )
    build(minidock, "-t", "base", folder)
    assert image(minidock, "base")["Config"]["OnBuild"] == ["COPY x /from-trigger"]
    (tmp_path / "context/Dockerfile").write_text("FROM base\nCOPY x /own\n")
    build(minidock, "-t", "derived", folder)
    assert not image(minidock, "derived")["Config"]["OnBuild"]
    assert set(files(minidock, "derived", tmp_path)) == {"x", "from-trigger", "own"}


def test_trigger_that_takes_from_a_stage_is_refused_where_from_stands(
    minidock: Minidock, tmp_path: Path
) -> None:
    """As by BuildKit, which has no stage for it either."""
    folder = context(
        tmp_path / "context", "FROM scratch\nONBUILD COPY --from=tools /x /\nCOPY x /\n", x="x"
    )
    build(minidock, "-t", "base", folder)
    (tmp_path / "context/Dockerfile").write_text(
        "FROM scratch AS tools\nCOPY x /\nFROM base\nCOPY x /own\n"
    )
    done = minidock("build", folder)
    assert done.code == 1
    assert 'cannot copy from stage "tools", it needs to be defined before' in done.stderr
    assert ">>> FROM base" in done.stderr


def test_network_host_name_and_hosts_of_run(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"""\
FROM {busybox_image}
RUN --network=none ls /sys/class/net >/none
RUN ls /sys/class/net >/default; hostname >/name; grep extra /etc/hosts >/hosts
RUN --network=host readlink /proc/self/ns/net >/host
""",
    )
    build(minidock, "-t", "nets", "--allow=network.host", "--add-host", "extra:10.1.2.3", folder)
    assert content(minidock, "nets", tmp_path, "none").split() == ["lo"]
    assert "eth0" in content(minidock, "nets", tmp_path, "default")
    assert content(minidock, "nets", tmp_path, "hosts").split() == ["10.1.2.3", "extra"]
    assert content(minidock, "nets", tmp_path, "name") == "buildkitsandbox\n"
    assert content(minidock, "nets", tmp_path, "host").strip() == os.readlink("/proc/self/ns/net")


def test_host_folder_for_run_steps(minidock: Minidock, busybox_image: str, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "in").write_text("from the host")
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN cp /mnt/share/in /copy; echo x >/mnt/share/out\n",
    )
    build(minidock, "-t", "volume", "-v", f"{shared}:/mnt/share", folder)
    assert content(minidock, "volume", tmp_path, "copy") == "from the host"
    assert (shared / "out").read_text() == "x\n"
    assert not [name for name in files(minidock, "volume", tmp_path) if name.startswith("mnt")]


def test_scratch_image_has_a_path_and_no_layer_more_than_asked(
    minidock: Minidock, tmp_path: Path
) -> None:
    folder = context(tmp_path / "context", "FROM scratch\nCOPY a /\nENV X=1\n", a="a")
    build(minidock, "-t", "bare", folder)
    found = image(minidock, "bare")
    assert found["Config"]["Env"] == [
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "X=1",
    ]
    assert len(layers(minidock, "bare")) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--platform", "linux/s390x", "."], "linux/s390x is not available"),
        (["--push", "."], "--push is not available"),
        (["--ssh", "default", "."], "--ssh default is not available"),
        (["--cache-from", "x", "."], "--cache-from x is not available"),
        (["-t", "UPPER", "."], 'invalid tag "UPPER"'),
        (["--secret", "src=x", "."], "secret is missing an id"),
        (["-f", "-", "-"], "can't use stdin for both build context and dockerfile"),
        (["/nowhere"], 'path "/nowhere" not found'),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    minidock: Minidock, arguments: list[str], words: str, tmp_path: Path
) -> None:
    done = minidock("build", *arguments)
    assert done.code in (1, 125), str(done)
    assert words in done.stderr


def test_image_that_is_not_here_is_pulled(
    minidock: Minidock, tmp_path: Path, require: Callable[[str], str]
) -> None:
    require("docker-registry")
    base = context(tmp_path / "base", "FROM scratch\nCOPY a /a\n", a="of the registry")
    with serve(tmp_path / "registry") as registry:
        name = f"{registry.host}/team/base:1"
        build(minidock, "-t", name, base)
        minidock.ok("push", name)
        minidock.ok("rmi", name)
        minidock.ok("builder", "prune", "-a", "-f")
        folder = context(tmp_path / "context", f"FROM {name}\nCOPY --from={name} /a /b\n")
        build(minidock, "-t", "pulled", folder)
        assert content(minidock, "pulled", tmp_path, "b") == "of the registry"
        context(tmp_path / "base", "FROM scratch\nCOPY a /a\n", a="newer")
        build(minidock, "-t", name, base)
        minidock.ok("push", name)
        minidock.ok("tag", "pulled", name)
        build(minidock, "-t", "kept", folder)
        assert content(minidock, "kept", tmp_path, "b") == "of the registry"
        build(minidock, "-t", "newest", "--pull", folder)
        assert content(minidock, "newest", tmp_path, "b") == "newer"


def test_running_step_can_be_looked_at(
    minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    folder = context(
        tmp_path / "context",
        f"FROM {busybox_image}\nRUN --mount=type=cache,target=/c "
        "echo x >/made; until test -e /c/go; do sleep 0.1; done\n",
    )
    process = minidock.start("build", folder)
    assert process.stderr is not None
    while not (step := minidock.ok("ps", "-q")) or "/made" not in minidock.ok("diff", step):
        assert process.poll() is None
    assert minidock.ok("exec", step, "cat", "/made") == "x"
    assert minidock.ok("ps", "--size", "--format", "{{.Size}}").startswith("2B")
    refused = minidock("commit", step)
    assert refused.code == 1
    assert "is a RUN step of a build" in refused.stderr
    minidock.ok("exec", step, "touch", "/c/go")
    process.communicate(timeout=patience(20))
    assert process.returncode == 0
    assert minidock.ok("ps", "-aq") == ""
