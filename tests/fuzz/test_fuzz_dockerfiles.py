"""Dockerfiles, their words, .dockerignore, and patterns with wildcards."""

from __future__ import annotations

from minidock.cli.flags.filters import BadFilter, matches_glob, matches_regexp
from minidock.engine.build.run_mount_flag import read_mounts
from minidock.engine.build.stage_plan import plan
from minidock.engine.build.stage_state import State
from minidock.engine.dockerfile import config
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.dockerignore import Ignore
from minidock.engine.dockerfile.parser import parse
from minidock.engine.dockerfile.word_expansion import expand, expand_for_display
from support.fuzz import as_text, corpus, fuzz, mutated, odd_text

_DOCKERFILE = b"""\
# syntax=docker/dockerfile:1
# escape=\\
ARG V=1
FROM debian:${V} AS base
ENV A=$A$A B="x y" C=${A:-${B}} D=${A##*/} E=${A/x/y}
LABEL a="b" c=d
WORKDIR /x/../y
USER 10:20
EXPOSE 80/tcp 90-95 $A
VOLUME ["/a", "/b"]
RUN --mount=type=cache,target=/c,mode=0755,uid=1 --network=none make \\
    # comment
    all
RUN <<EOF cat
text $A
EOF
COPY --from=base --chown=1:2 --chmod=0644 a* [b-c] <<X /d/
content
X
ADD --checksum=sha256:00 https://example.com/x.tar /x
HEALTHCHECK --interval=5s --retries=3 CMD ["true"]
SHELL ["/bin/sh", "-c"]
STOPSIGNAL SIGTERM+3
ONBUILD RUN echo
CMD ["a", "b"]
ENTRYPOINT sh -c x
FROM 0
COPY --from=base /x /
"""
_DOUBLING = "FROM scratch\nENV A=0123456789\n" + "ENV A=$A$A\n" * 40
_TIMES = "FROM scratch\nENV A=" + "x" * 5000 + "\n" + "ENV A=${A//x/$A}\n" * 3


def _build(data: bytes) -> None:
    """All that a build does before it touches a file."""
    planned = plan(parse(data), build_args={}, target="")
    for stage in planned.needed:
        state = State()
        for one in stage.instructions:
            if one.keyword == "RUN":
                read_mounts(one, state.variables, "/")
            elif config.applies_to(one.keyword):
                state.note(config.apply(state.config, one, state.variables, cmd_is_set=False))
                if one.keyword == "ENV":
                    state.variables.update(config.pairs(one, state.variables))


def test_dockerfiles() -> None:
    known = [_DOUBLING.encode(), _TIMES.encode(), *corpus("dockerfiles")]
    fuzz(_build, mutated(_DOCKERFILE), refuses=DockerfileError, known=known)


def test_words() -> None:
    def act(text: str) -> None:
        expand_for_display(text, {"A": "aXbXc\n", "B": "x" * 10_000})
        expand(text, {"A": "aXbXc\n", "B": "x" * 10_000})

    words = [
        "${",
        "}",
        "$A",
        "${A",
        "${B##*",
        "${B%%",
        "${B//x/",
        "${B//*x*x/",
        "$B",
        ":-",
        "*",
        "?",
    ]
    known = ["${B//x/$B$B$B}", "${B//*a*a*a/}", "${B##" + "*x" * 2000 + "y}", "${A" * 5000]
    fuzz(act, odd_text(*words), refuses=DockerfileError, known=known)


def test_ignore_files() -> None:
    def act(text: str) -> None:
        ignore = Ignore(text.encode("utf-8", "surrogateescape"))
        for path in ("a", "a/b.log", "x/" * 100 + "y", "a" * 4000, "\udc80"):
            ignore.matches(path)
            ignore.skips(path)

    words = [
        "**/",
        "**",
        "*",
        "*a",
        "?",
        "[a-",
        "[^",
        "]",
        "!",
        "\n",
        "/",
        "\\",
        "#",
        "..",
        "a" * 50,
    ]
    known = [
        "*a" * 100 + "b", "**/*" * 3000 + "b", "*" * 16_000 + "b", "a" * 16_385,
        "\n" * (1 << 20) + "x",
        "[a-z]*" * 2000 + "1", *map(as_text, corpus("ignore")),
    ]  # fmt: skip
    fuzz(act, odd_text(*words, size=40).filter(_is_encodable), refuses=DockerfileError, known=known)


def test_filters() -> None:
    def act(text: str) -> None:
        for name in ("a/b", "a" * 1000):
            matches_glob(text, name)

    known = ["*a" * 500 + "b", "[" * 5000, "[z-a]", "[^", "\\"]
    fuzz(
        act, odd_text("*", "*a", "?", "[a-z]", "[^", "]", "\\", "/"), refuses=BadFilter, known=known
    )


def test_regular_expressions() -> None:
    def act(text: str) -> None:
        matches_regexp(text, "a" * 40)

    words = ["(", ")*", "a*", "+", "{1,9}", "(?:", "|", "[", "]", "(?P<x>", "(?=", "\\1", "^", "$"]
    fuzz(act, odd_text(*words), refuses=BadFilter, known=["(" * 5000, "a{1,99999999999}"])


def _is_encodable(text: str) -> bool:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
