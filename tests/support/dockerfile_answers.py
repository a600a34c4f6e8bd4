"""What the real `docker build` answers to small Dockerfiles, written down for the unit tests.

    DOCKER_HOST=unix:///path/docker.sock python tests/support/dockerfile_answers.py

asks a dockerd with BuildKit every question in tests/fixtures/dockerfile again and writes down its
answers. Three files of questions:

    instructions.json   a Dockerfile -> the image's config and history, or the error and its lines
    words.json          an escape character and a text -> the text with its variables put in
    ignore.json         a .dockerignore -> what of a fixed tree of files reaches the build

A case with "ours" is one where minidock answers otherwise on purpose.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).parent.parent / "fixtures" / "dockerfile"
_SHOWN_LINE = re.compile(r"^ *(\d+) \| >>>", re.MULTILINE)
_LEFT_OUT = ("ArgsEscaped",)


def instructions() -> list[dict[str, Any]]:
    return _read("instructions.json")


def words() -> dict[str, Any]:
    return _read("words.json")


def ignore() -> dict[str, Any]:
    return _read("ignore.json")


def words_dockerfile(variables: dict[str, str], escape: str, texts: list[str]) -> str:
    """A Dockerfile whose labels k0, k1, … are the texts, expanded. The variables hold no quotes."""
    lines = [] if escape == "\\" else [f"# escape={escape}"]
    lines += ["FROM scratch", *(f'ENV {name}="{value}"' for name, value in variables.items())]
    return "\n".join([*lines, *(f"LABEL k{n} {text}" for n, text in enumerate(texts)), ""])


def write_tree(root: Path, files: list[str], directories: list[str]) -> None:
    """The tree of files that the cases of ignore.json speak of."""
    for name in directories:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def _read(name: str) -> Any:
    return json.loads((FIXTURES / name).read_text())


def _docker(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["docker", *arguments], capture_output=True, check=False)


def _build(context: Path, *flags: str) -> tuple[bytes, str, list[int]]:
    """What `build -q` prints; its error, and the lines that this shows."""
    done = _docker("build", "-q", "--network=none", *flags, str(context))
    told = done.stderr.decode()
    error = told.partition("failed to solve: ")[2].strip() if done.returncode else ""
    assert bool(error) == bool(done.returncode), told
    return done.stdout, error, [int(line) for line in _SHOWN_LINE.findall(told)]


def _ask_instructions(case: dict[str, Any]) -> dict[str, Any]:
    answer = {key: case[key] for key in ("dockerfile", "ours") if key in case}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "Dockerfile").write_text(case["dockerfile"])
        printed, error, lines = _build(Path(directory))
    if error:
        return {**answer, "error": error, "lines": lines}
    image = printed.decode().strip()
    config = json.loads(_docker("image", "inspect", image).stdout)[0]["Config"]
    history = _docker("history", "--no-trunc", "--format", "{{json .CreatedBy}}", image)
    return {
        **answer,
        "config": {k: v for k, v in config.items() if v and k not in _LEFT_OUT},
        "history": [json.loads(line) for line in history.stdout.splitlines()][::-1],
    }


def _ask_words(document: dict[str, Any]) -> dict[str, Any]:
    for escape, cases in document["cases"].items():
        text = words_dockerfile(document["variables"], escape, [case[0] for case in cases])
        labels = _ask_instructions({"dockerfile": text})["config"]["Labels"]
        for number, case in enumerate(cases):
            case[1:] = [labels[f"k{number}"]]
    return document


def _ask_ignore(document: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        write_tree(root, document["files"], document["directories"])
        (root / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        for case in document["cases"]:
            (root / ".dockerignore").write_text(case[0])
            tar, error, _ = _build(root, "--output=type=tar,dest=-")
            while "context canceled" in error:  # a second, and useless, way of saying an error
                tar, error, _ = _build(root, "--output=type=tar,dest=-")
            names = [] if error else tarfile.open(fileobj=io.BytesIO(tar)).getnames()
            case[1:] = [error or sorted(name.rstrip("/") for name in names)]
    return document


def _write(name: str, value: Any) -> None:
    """One case a line, so that a change of one shows as one line."""
    if isinstance(value, list):
        text = "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in value) + "\n]\n"
    else:
        parts = []
        for key, part in value.items():
            parts.append(f"{json.dumps(key)}: {_lines(part)}")
        text = "{\n" + ",\n".join(parts) + "\n}\n"
    (FIXTURES / name).write_text(text)


def _lines(part: Any) -> str:
    if isinstance(part, list) and part and isinstance(part[0], list):
        return "[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in part) + "\n]"
    if isinstance(part, dict) and all(isinstance(v, list) for v in part.values()):
        inner = (f"{json.dumps(k, ensure_ascii=False)}: {_lines(v)}" for k, v in part.items())
        return "{\n" + ",\n".join(inner) + "\n}"
    return json.dumps(part, ensure_ascii=False)


if __name__ == "__main__":
    _write("instructions.json", [_ask_instructions(case) for case in instructions()])
    _write("words.json", _ask_words(words()))
    _write("ignore.json", _ask_ignore(ignore()))
