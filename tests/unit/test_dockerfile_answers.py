"""The Dockerfile language held against what the real docker build answered, written down.

tests/support/dockerfile_answers.py asked the questions.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from minidock.engine.dockerfile import checks, config
from minidock.engine.dockerfile.dockerfile_error import DockerfileError
from minidock.engine.dockerfile.dockerignore import Ignore
from minidock.engine.dockerfile.parser import parse
from minidock.engine.dockerfile.word_expansion import expand
from support import built
from support import dockerfile_answers as answers

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTRUCTIONS = answers.instructions()
_WORDS = answers.words()
_IGNORE = answers.ignore()


@pytest.mark.parametrize("case", _INSTRUCTIONS, ids=lambda case: case["dockerfile"][-60:])
def test_dockerfile_means_what_it_means_to_docker(case: dict[str, Any]) -> None:
    case = {**case, **case.get("ours", {})}
    try:
        run_config, history = _built(case["dockerfile"])
    except DockerfileError as error:
        assert str(error) == case.get("error")
        assert [error.lines[0], error.lines[1]] == [*case["lines"][:1], *case["lines"][-1:]] or (
            not case["lines"] and not error.line
        )
        return
    assert "error" not in case
    shown = {name: value for name, value in run_config.items() if value}
    shown.pop("ArgsEscaped", None)
    assert shown == case["config"]
    assert history == case["history"]


def _built(text: str) -> tuple[dict[str, Any], list[str]]:
    """The config and history that a stage on scratch comes to, of instructions without files."""
    dockerfile = parse(text.encode())
    stage = checks.stages(dockerfile)[1][-1]
    run_config: dict[str, Any] = {"Env": [f"PATH={_PATH}"], "WorkingDir": "/"}
    variables = {"PATH": _PATH}
    history: list[str] = []
    cmd_is_set = False
    for instruction in stage.instructions:
        if instruction.keyword == "ARG":
            found = config.arg_pairs(instruction, variables)
            variables.update({name: value for name, value in found if value is not None})
            shown = (name if value is None else f"{name}={value}" for name, value in found)
            history.append(" ".join(["ARG", *shown]))
            continue
        line = config.apply(run_config, instruction, variables, cmd_is_set=cmd_is_set)
        history += [line] if line else []
        cmd_is_set = cmd_is_set or instruction.keyword == "CMD"
        variables.update(config.environment(run_config) if instruction.keyword == "ENV" else {})
    return run_config, history


@pytest.mark.parametrize("escape", _WORDS["cases"])
def test_words_are_expanded_as_docker_expands_them(escape: str) -> None:
    variables = {"PATH": _PATH, **_WORDS["variables"]}
    found = [[text, expand(text, variables, escape=escape)] for text, _ in _WORDS["cases"][escape]]
    assert found == _WORDS["cases"][escape]


def test_dockerignore_leaves_out_what_docker_leaves_out(tmp_path: Path) -> None:
    answers.write_tree(tmp_path, _IGNORE["files"], _IGNORE["directories"])
    for name in ("Dockerfile", ".dockerignore"):
        (tmp_path / name).touch()
    for text, expected in _IGNORE["cases"]:
        assert [text, _left(tmp_path, text)] == [text, expected]


def _left(root: Path, text: str) -> list[str] | str:
    """What a .dockerignore lets through, as a builder walks: folder by folder, skipping some."""
    try:
        ignore = Ignore(text.encode())
    except DockerfileError as error:
        return f"rpc error: code = Unknown desc = {error}"
    left: set[str] = set()
    for directory, folders, files in os.walk(root):
        inside = Path(directory).relative_to(root)
        for name in [*folders, *files]:
            path = str(inside / name)
            if not ignore.matches(path):
                left |= {path, *(str(parent) for parent in Path(path).parents)} - {"."}
        folders[:] = [name for name in folders if not ignore.skips(str(inside / name))]
    return sorted(left)


def test_docs_tell_of_every_dockerfile_that_is_built_beside_docker() -> None:
    page = Path(__file__).parents[2] / "docs/build-beside-docker.md"
    rows = [line.split(" | ")[:2] for line in page.read_text().splitlines() if " | " in line]
    told = {name.removeprefix("| "): about for name, about in rows}
    for case in built.cases():
        assert told.get(case.name) == case.about
