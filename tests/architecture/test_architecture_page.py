"""docs/architecture.md draws the packages as they are, and in the order in which they import."""

from __future__ import annotations

import re
import tomllib

from support.command import REPOSITORY, SOURCE

PACKAGE = SOURCE / "minidock"
PAGE = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")


def drawn() -> list[str]:
    """The packages and modules of the page's drawing, as paths below src/minidock."""
    drawing = PAGE.partition("## Layers\n")[2].partition("\n## ")[0]
    paths: list[str] = []
    folders: list[str] = []
    for line in re.findall(r"^    ( *)(\S.*)$", drawing, re.MULTILINE):
        depth = len(line[0]) // 2
        name = line[1].split()[0]
        if name.endswith("/"):
            folders[depth:] = [name.rstrip("/")]
            paths.append("/".join(folders))
        elif depth == 0:
            paths += [f"{each}.py" for each in line[1].split("  ")[0].split(" · ")]
    return paths


def test_each_package_is_drawn_and_each_that_is_drawn_exists() -> None:
    packages = {str(path.parent.relative_to(PACKAGE)) for path in PACKAGE.rglob("__init__.py")}
    small = {"cli/output/template", "teach/lab/fault", "teach/lab/quiz"}  # inside what is drawn
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(drawn()) == (packages | modules) - small - {"."}


def test_packages_of_the_engine_stand_in_the_order_of_their_imports() -> None:
    with open(REPOSITORY / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    (engine,) = [one for one in contracts if one.get("containers") == ["minidock.engine"]]
    rank = {name: at for at, row in enumerate(engine["layers"]) for name in row.split(" | ")}
    shown = [path.split("/")[1] for path in drawn() if re.fullmatch(r"engine/[a-z]+", path)]
    assert [rank[name] for name in shown] == sorted(rank[name] for name in shown)
    assert set(shown) == set(rank)
