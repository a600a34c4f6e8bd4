"""--change of import and commit: what the real docker 26.1 answers, written down."""

from __future__ import annotations

from typing import Any

import pytest

from minidock.engine.dockerfile.config_changes import apply_changes
from minidock.errors import UsageError


@pytest.mark.parametrize(
    ("change", "field", "value"),
    [
        ("CMD", "Cmd", ["/bin/sh", "-c"]),
        ("CMD []", "Cmd", []),
        ("ENTRYPOINT", "Entrypoint", None),
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ('CMD ["a",]', "Cmd", ["/bin/sh", "-c", '["a",]']),
        ("CMD a \\", "Cmd", ["/bin/sh", "-c", "a"]),
        ("cmd a", "Cmd", ["/bin/sh", "-c", "a"]),
        ("ENTRYPOINT []", "Entrypoint", None),
        ("ENTRYPOINT foo bar", "Entrypoint", ["/bin/sh", "-c", "foo bar"]),
        ("ENV X y z", "Env", ["X=y z"]),
        ("ENV A=$PATH B=${X:-def}", "Env", ["A=", "B=def"]),
        ("ENV A='$B' C=\"d e\" D=f\\ g", "Env", ["A=$B", "C=d e", "D=f g"]),
        ("EXPOSE 80/TCP 53/udp", "ExposedPorts", {"53/udp": {}, "80/tcp": {}}),
        ("EXPOSE 1:2", "ExposedPorts", {"2/tcp": {}}),
        ("EXPOSE 7-9", "ExposedPorts", {"7/tcp": {}, "8/tcp": {}, "9/tcp": {}}),
        ('LABEL "a b"=c d="e f"', "Labels", {"a b": "c", "d": "e f"}),
        ("USER 1:2", "User", "1:2"),
        ('VOLUME ["/a","/b c"]', "Volumes", {"/a": {}, "/b c": {}}),
        ("VOLUME /v /w", "Volumes", {"/v": {}, "/w": {}}),
        ("WORKDIR rel", "WorkingDir", "/rel"),
        ("WORKDIR /a/../b/", "WorkingDir", "/b"),
        ("WORKDIR /a b", "WorkingDir", "/a b"),
        ("ENV A=1\nENV B=$A", "Env", ["A=1", "B=1"]),
        ("STOPSIGNAL -1", "StopSignal", "-1"),
        ("STOPSIGNAL SIGRTMIN+3", "StopSignal", "SIGRTMIN+3"),
        ("STOPSIGNAL 9", "StopSignal", "9"),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("ONBUILD RUN x", "OnBuild", ["RUN x"]),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        (
            'HEALTHCHECK --interval=1m30s --retries=3 CMD ["a", "b"]',
            "Healthcheck",
            {"Test": ["CMD", "a", "b"], "Interval": 90_000_000_000, "Retries": 3},
        ),
    ],
)
def test_change_does_what_dockers_does(change: str, field: str, value: Any) -> None:
    assert apply_changes({}, [change])[field] == value


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("FOO x", "FOO is not a valid change command"),
        ("RUN x", "RUN is not a valid change command"),
        ("", "file with no instructions"),
        ("# c", "file with no instructions"),
        ("EXPOSE abc", "Invalid containerPort: abc"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("EXPOSE 1/icmp", "Invalid proto: icmp"),
        ("ENV X", "ENV must have two arguments"),
        ("ENV", "ENV requires at least one argument"),
        ("LABEL x", "LABEL must have two arguments"),
        ("ENV A=1 B", 'can\'t find = in "B"'),
        ("ENV A=${", "missing '}'"),
        ('SHELL ["a"]', "SHELL is not a valid change command"),
        ("CMD --x=1 a", "^unknown flag: x"),
        ("VOLUME []", "VOLUME requires at least one argument"),
        ("CMD [1]", "arrays must be comprised of strings only"),
        ("EXPOSE 80-79", "Invalid containerPort: 80-79"),
        ("EXPOSE 80:81-82", "Invalid ranges specified"),
        ("USER", "USER requires exactly one argument"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK x", "Unknown type"),
        ("HEALTHCHECK --interval=x CMD a", "invalid duration"),
        ("HEALTHCHECK --what=1 CMD a", "unknown flag"),
    ],
)
def test_wrong_change_is_refused_in_dockers_words(change: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        apply_changes({}, [change])


def test_changes_build_on_each_other_and_leave_the_original() -> None:
    base = {"Env": ["A=1"], "Cmd": ["old"], "Labels": {"a": "b"}}
    changed = apply_changes(base, ["ENV B=$A", "ENV A=2", 'ENTRYPOINT ["e"]', "LABEL c=$A"])
    assert changed["Env"] == ["A=2", "B=1"]
    assert changed["Cmd"] is None
    assert changed["Labels"] == {"a": "b", "c": "2"}
    assert base == {"Env": ["A=1"], "Cmd": ["old"], "Labels": {"a": "b"}}
    assert apply_changes(base, ['CMD ["c"]', 'ENTRYPOINT ["e"]'])["Cmd"] == ["c"]
