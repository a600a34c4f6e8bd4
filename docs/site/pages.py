"""A hook of mkdocs (`make site`): the pages of the site that are not files of docs/.

    index                   README.md
    repository/PATH         each file outside docs/ that a page links to: a lab, a source file
    repository/PATH/        each such directory without a README.md: the names in it
    code/PACKAGE            the modules of a package, from their public docstrings (mkdocstrings)

Links keep their meaning: `../src/minidock/kernel/mount.py` in docs/ leads to the page of that file.
So the Markdown files are written for readers of the repository, and the site needs no copy of them.

Source: mkdocs.org, "Hooks"; mkdocstrings.github.io, "Usage".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src/minidock"
LAYERS = ("engine", "runtime", "kernel", "oci")  # those below the command line
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".sh": "sh", ".md": "markdown"}
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]+)(#[^)\s]*)?\)")

_origins: dict[str, str] = {}  # the site's file -> the path in the repository that it shows


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, link by link, starting with README.md and docs/."""
    _origins.clear()
    _origins.update({file.src_uri: f"docs/{file.src_uri}" for file in files.documentation_pages()})
    found = ["README.md"]
    for origin in _origins.values():
        found += targets(origin)
    while found:
        path = found.pop()
        name = site_name(path)
        if name in _origins or not name.endswith(".md"):
            continue
        _origins[name] = path
        files.append(File.generated(config, name, content=content_of(path)))
        found += targets(path)
    for name, text in code_pages():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have the links lead to the pages of what they name."""
    origin = _origins.get(page.file.src_uri, "")
    if not origin.endswith(".md"):
        return markdown
    here = os.path.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        path = resolved(origin, link[1])
        if not (REPOSITORY / path).exists():
            return link[0]  # mkdocs --strict reports it
        return f"]({os.path.relpath(site_name(path), here)}{link[2] or ''})"

    return LINK.sub(moved, markdown)


def resolved(origin: str, target: str) -> str:
    """The path in the repository that a link of a file leads to."""
    return os.path.normpath(os.path.join(os.path.dirname(origin), target))


def targets(origin: str) -> list[str]:
    """The existing paths that a Markdown file links to."""
    if not origin.endswith(".md"):
        return []
    text = (REPOSITORY / origin).read_text(encoding="utf-8")
    paths = (resolved(origin, link[1]) for link in LINK.finditer(text))
    return [path for path in paths if (REPOSITORY / path).exists()]


def site_name(path: str) -> str:
    """The file of the site that shows a path of the repository."""
    if path == "README.md":
        return "index.md"
    if (REPOSITORY / path).is_dir():
        path = f"{path}/README.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"repository/{path}" if path.endswith(".md") else f"repository/{path}.md"


def content_of(path: str) -> str:
    """The Markdown of a path's page: itself, a directory's names, or a file as a code block."""
    place = REPOSITORY / path
    if place.is_dir():
        readme = place / "README.md"
        if readme.exists():
            return readme.read_text(encoding="utf-8")
        names = sorted(f"{each.name}/" if each.is_dir() else each.name for each in place.iterdir())
        shown = [f"- `{name}`" for name in names if not name.startswith(("__pycache__", "."))]
        return "\n".join([f"# {path}/", "", *shown, ""])
    text = place.read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n~~~~~~ {LANGUAGES.get(place.suffix, 'text')}\n{text}~~~~~~\n"


def code_pages() -> Iterator[tuple[str, str]]:
    """A page for each package below the command line, and one that lists them."""
    listed = [
        "# The code, by its docstrings",
        "",
        "Public names below the command line.",
        "",
    ]
    for layer in LAYERS:
        for package in sorted({module.parent for module in (SOURCE / layer).rglob("*.py")}):
            modules = sorted(m.stem for m in package.glob("*.py") if not m.stem.startswith("__"))
            name = ".".join(package.relative_to(SOURCE).parts)
            if modules:
                yield f"code/{name}.md", code_page(name, modules)
                listed.append(f"- [{name}]({name}.md): {', '.join(modules)}")
    yield "code/index.md", "\n".join([*listed, ""])


def code_page(package: str, modules: list[str]) -> str:
    """A package's modules, for mkdocstrings to fill in."""
    names = [f"::: minidock.{package}.{module}" for module in modules]
    return "\n\n".join([f"# {package}", *names, ""])
