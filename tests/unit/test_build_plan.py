"""Which stages a build needs, and in which order; what a step's mounts and times are."""

from __future__ import annotations

import pytest

from minidock.engine.build.run_mount_flag import read_mounts
from minidock.engine.build.stage_plan import Plan, check_platform, plan
from minidock.engine.build.stage_state import State, image_document
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.parser import parse
from minidock.oci.image_config import host_architecture


def _plan(text: str, target: str = "", **build_args: str) -> Plan:
    return plan(parse(text.encode()), build_args=build_args, target=target)


def _needed(planned: Plan) -> list[str]:
    return [stage.name or stage.image for stage in planned.needed]


def test_only_what_the_target_is_made_from_is_needed() -> None:
    text = """\
FROM a AS one
FROM b AS two
RUN --mount=type=cache,target=/c --mount=type=bind,from=one,target=/x true
FROM c AS three
FROM two AS four
COPY --from=image/of-its-own /x /
"""
    assert _needed(_plan(text)) == ["one", "two", "image/of-its-own", "four"]
    assert _needed(_plan(text, target="three")) == ["three"]
    assert _needed(_plan(text, target="1")) == ["one", "two"]


def test_stage_of_the_same_name_below_is_not_meant() -> None:
    planned = _plan("FROM a AS x\nFROM x AS x\nFROM x\n")
    assert _needed(planned) == ["x", "x", ""]
    assert planned.target.base is planned.stages[1]
    assert planned.stages[1].base is planned.stages[0]


def test_global_args_are_for_from() -> None:
    text = "ARG A=one\nARG B=${A}-two\nFROM $B\n"
    assert _plan(text).target.image == "one-two"
    assert _plan(text, A="x").target.image == "x-two"
    assert _plan("FROM --platform=$BUILDPLATFORM i:$TARGETARCH\n").target.image == (
        f"i:{host_architecture()}"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM a\nCOPY --from=1 x /\nFROM b\n", "stage"),
        ("FROM a AS x\nCOPY --from=x y /\n", "circular dependency"),
        ("FROM $NOTHING\n", "should not be blank"),
        ("FROM --platform=windows/amd64 a\n", "is not available"),
    ],
)
def test_plan_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(DockerfileError, match=words) as caught:
        _plan(text, target="0" if text.count("FROM ") > 1 else "")
    assert caught.value.lines[0] >= 1


@pytest.mark.parametrize("platform", ["linux", host_architecture(), f"linux/{host_architecture()}"])
def test_the_machines_own_platform_is_taken_and_no_other(platform: str) -> None:
    check_platform(platform, "--platform")
    with pytest.raises(DockerfileError, match=f"this machine is linux/{host_architecture()}"):
        check_platform("linux/s390x", "--platform")


def test_mounts_have_their_defaults() -> None:
    text = (
        "FROM a\nRUN --mount=target=in --mount=type=cache,dst=/c,ro --mount=type=secret,id=key "
        "--mount=type=secret,target=/etc/token --mount=type=bind,target=/w,rw,source=$A true\n"
    )
    instruction = parse(text.encode()).instructions[1]
    mounts = read_mounts(instruction, {"A": "../src"}, "/work")
    assert [(m.kind, m.target, m.writable) for m in mounts] == [
        ("bind", "/work/in", False),
        ("cache", "/c", False),
        ("secret", "/run/secrets/key", True),
        ("secret", "/etc/token", True),
        ("bind", "/w", True),
    ]
    assert mounts[3].options["id"] == "token"
    assert mounts[4].source == "src"


def test_times_of_what_made_no_layer_are_those_of_the_layer_before() -> None:
    """Before the first new layer, it is that one's: the base image may be years old."""
    state = State()
    state.history = [{"created": "2020", "created_by": "base"}]
    state.note("ENV A=1")
    state.add_layer("sha256:" + "1" * 64, "2024", "RUN one")
    state.note("ENV B=1")
    state.add_layer("sha256:" + "2" * 64, "2025", "RUN two")
    state.note("CMD x")
    document = image_document(state, {})
    assert [entry["created"] for entry in document["history"]] == [
        "2020", "2024", "2024", "2024", "2025", "2025",
    ]  # fmt: skip
    assert document["created"] == "2025"
