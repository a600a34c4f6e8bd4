"""Which language explain tells in: what was asked for, then what the environment says."""

from __future__ import annotations

import pytest

from minidock.errors import UsageError
from minidock.teach.language import available, language

SENTENCE = "Create a cgroup by creating its directory."


def speaks_russian(wanted: str, **environment: str) -> bool:
    return language(wanted, environment).gettext(SENTENCE) != SENTENCE


@pytest.mark.parametrize("wanted", ("ru", "ru_RU", "ru_RU.UTF-8", "RU"))
def test_a_language_can_be_asked_for(wanted: str) -> None:
    assert speaks_russian(wanted)


def test_what_was_asked_for_counts_more_than_the_environment() -> None:
    assert not speaks_russian("en", LANG="ru_RU.UTF-8")
    assert speaks_russian("ru", LANG="en_US.UTF-8")


@pytest.mark.parametrize(
    ("environment", "russian"),
    (
        ({}, False),
        ({"LANG": "ru_RU.UTF-8"}, True),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C.UTF-8", "LC_MESSAGES": "ru_RU"}, True),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "C", "LANGUAGE": "de:ru:en"}, True),
        ({"LANG": "ru_RU.UTF-8", "LANGUAGE": "en:ru"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
    ),
)
def test_the_environment_is_read_as_gettext_reads_it(
    environment: dict[str, str], russian: bool
) -> None:
    assert speaks_russian("", **environment) == russian


def test_an_unknown_language_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'fr'") as caught:
        language("fr")
    assert caught.value.hint == f"available: {', '.join(available())}"
