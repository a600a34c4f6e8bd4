"""--cap-add and --cap-drop, reckoned as Docker does."""

from __future__ import annotations

import pytest

from minidock.errors import UsageError
from minidock.kernel import capability
from minidock.kernel.capability import DOCKER_DEFAULT, NAMES, resolve


def test_numbers_are_the_kernels() -> None:
    assert len(NAMES) == 41
    assert (NAMES[0], NAMES[21], NAMES[40]) == (
        "CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE",
    )  # fmt: skip


def test_docker_gives_fourteen() -> None:
    assert resolve([], []) == list(DOCKER_DEFAULT)
    assert f"{capability.mask_of(resolve([], [])):016x}" == "00000000a80425fb"


def test_masks_and_names_are_each_others_inverse() -> None:
    assert capability.names_of(capability.mask_of(list(NAMES))) == list(NAMES)


def test_names_in_any_case_with_and_without_prefix() -> None:
    added = resolve(["net_admin", "Cap_Sys_Time"], ["MKNOD", "cap_kill"])
    assert set(added) == set(DOCKER_DEFAULT) - {"CAP_MKNOD", "CAP_KILL"} | {
        "CAP_NET_ADMIN",
        "CAP_SYS_TIME",
    }


def test_what_is_added_wins_over_what_is_dropped() -> None:
    assert "CAP_KILL" in resolve(["kill"], ["kill"])


def test_all() -> None:
    everything = capability.available()
    assert resolve(["kill"], ["ALL"]) == ["CAP_KILL"]
    assert resolve([], ["all"]) == []
    assert resolve(["ALL"], ["sys_admin"]) == [n for n in everything if n != "CAP_SYS_ADMIN"]
    assert resolve([], ["ALL"], privileged=True) == everything


@pytest.mark.parametrize(
    ("add", "drop", "message"),
    [
        (["foo"], [], 'invalid CapAdd: unknown capability: "CAP_FOO"'),
        ([], ["cap_bar"], 'invalid CapDrop: unknown capability: "CAP_BAR"'),
        ([""], [], 'invalid CapAdd: unknown capability: "CAP_"'),
    ],
)
def test_an_unknown_name_is_refused_in_dockers_words(
    add: list[str], drop: list[str], message: str
) -> None:
    for privileged in (False, True):
        with pytest.raises(UsageError) as caught:
            resolve(add, drop, privileged=privileged)
        assert str(caught.value) == message


def test_a_capability_that_this_machine_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "available", lambda: ["CAP_KILL"])
    with pytest.raises(UsageError, match="not supported by your kernel or not available"):
        resolve(["CAP_CHOWN"], [])
