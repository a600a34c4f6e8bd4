"""The bench's history: what a line has, and that the picture in docs/ is the one of the data."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from support.command import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))
import history
from report import Case, Measured

FACTS = {
    "cores": "2", "system": "Debian 13, Linux 6.18", "python": "Python 3.13.5",
    "docker": "Docker version 26.1.5, build a1", "podman": "podman version 5.4.2",
    "runc": "runc version 1.1.15",
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"


def _cases() -> list[Case]:
    run = {"minidock": Measured([[0.1, 0.2]]), "docker": Measured([[0.3]])}
    return [
        Case(history.RUN, run, {}),
        Case("ps", {"minidock": Measured([[0.1]])}, {}),
        Case("memory", {n: Measured([[9.0]], unit="MB") for n in ("minidock", "docker")}, {}),
    ]


def _texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


def test_a_line_has_the_times_of_run_and_the_ratios_of_all_times() -> None:
    line = history.entry(_cases(), FACTS, version="9.9.9")
    assert line["run_ms"] == {"minidock": 150, "docker": 300}
    assert line["ratios"] == {history.RUN: {"docker": 0.5}}, "no other engine, or no time"
    assert line["version"] == "9.9.9"
    assert line["machine"] == (
        "2 cores, Debian 13, Linux 6.18, Python 3.13.5; "
        "Docker version 26.1.5, podman version 5.4.2, runc version 1.1.15"
    )


def test_a_line_is_added_after_the_others(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for version in ("0.1.0", "0.2.0"):
        history.append(path, history.entry(_cases(), FACTS, version=version))
    assert [line["version"] for line in history.read(path)] == ["0.1.0", "0.2.0"]


def test_a_picture_has_a_column_for_each_line_and_a_scale_from_zero() -> None:
    old: dict[str, Any] = {**history.entry(_cases(), FACTS, version="0.1.0"), "date": "2026-01-02"}
    new = {**old, "date": "2026-01-03", "run_ms": {"minidock": 75, "docker": 300, "podman": 310}}
    texts = _texts(history.picture([old, new]))
    assert {"2026-01-02", "2026-01-03", "minidock 75", "docker 300", "podman 310"} <= set(texts)
    assert texts.count("0") == 2, "each panel has its zero"


def test_a_value_stands_where_the_scale_says() -> None:
    line = history.entry(_cases(), FACTS, version="0.1.0")
    drawn = ET.fromstring(history.picture([line]))
    heights = {
        (circle[0].text or ""): float(circle.get("cy") or 0)
        for circle in drawn.iter(f"{SVG}circle")
    }
    top, height = history.PANELS[0]
    assert heights["docker 300"] == top, "the highest value is the top of its scale: 0 to 300"
    assert heights["minidock 150"] == top + height / 2


def test_the_picture_of_the_docs_is_drawn_from_the_data() -> None:
    lines = history.read(history.HISTORY)
    assert history.PICTURE.read_text(encoding="utf-8") == history.picture(lines)
    dates = [str(line["date"]) for line in lines]
    assert dates == sorted(dates)
    for line in lines:
        assert set(line) == {"date", "version", "commit", "machine", "run_ms", "ratios"}
