"""A tutorial's tour through `docker`, run unchanged by minidock: the same is printed."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.command import Minidock
from support.docker_daemon import Docker
from support.parity import engine_of_docker, engine_of_minidock, give_image, side_by_side

pytestmark = pytest.mark.root

TOUR = Path(__file__).parent / "stories/tour.sh"


def test_the_tour_is_the_same_with_both(
    docker_networked: Docker, minidock: Minidock, busybox_image: str, tmp_path: Path
) -> None:
    give_image(docker_networked, minidock, busybox_image, tmp_path)
    engines = (engine_of_docker(docker_networked), engine_of_minidock(minidock))
    snippet = f'docker() {{ "$D" "$@"; }}\nPORT=$P\n{TOUR.read_text()}'
    theirs, ours = side_by_side(snippet, "tour", engines, tmp_path)
    docker_networked.remove_all_containers()
    assert ours.visible == theirs.visible, f"{ours.stderr}\n--- docker:\n{theirs.stderr}"
    assert ours.code == 0, ours.stderr
    assert minidock.ok("ps", "-aq") == ""
