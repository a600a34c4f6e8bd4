"""A learner's first database: rows outlive a stop, with a volume also `rm`; and it is committed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.base_images import GROUP, BaseImages, Shell
from support.patience import patience

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(600), GROUP]

RUN = "minidock run --name MyPostgres -e POSTGRES_PASSWORD=mysecretpassword -p 8090:5432"
PSQL = "PGPASSWORD=mysecretpassword psql -h localhost -p 8090 -U postgres"
READY = f"for i in $(seq 100); do {PSQL} -c 'SELECT 1' && exit; sleep 0.2; done; exit 1"


@pytest.fixture
def shell(
    base_images: BaseImages, tmp_path: Path, require: Callable[[str], str]
) -> Iterator[Shell]:
    require("psql")
    yield Shell(base_images.need("postgres").root, tmp_path)
    base_images.clean()


def test_a_row_outlives_stop_and_start(shell: Shell) -> None:
    shell(f"{RUN} -d postgres")
    shell(READY)
    shell(f"{PSQL} -c 'CREATE TABLE cities (name text, people integer)'")
    shell(f"""{PSQL} -c "INSERT INTO cities VALUES ('Moscow', 13010112)" """)
    shell("minidock stop MyPostgres")
    state = json.loads(shell("minidock inspect -f '{{json .State}}' MyPostgres"))
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)

    attached = shell.start("minidock start -a MyPostgres")
    shell(READY)
    assert shell(f"{PSQL} -Atc 'SELECT * FROM cities'") == "Moscow|13010112"
    shell("minidock stop MyPostgres")
    said, _ = attached.communicate(timeout=patience(30))
    assert attached.returncode == 0
    assert "database system is shut down" in said


def test_with_a_volume_a_row_outlives_rm(shell: Shell) -> None:
    shell("minidock volume create pgdata")
    with_volume = f"{RUN} -v pgdata:/var/lib/postgresql/data -d postgres"
    shell(with_volume)
    shell(READY)
    shell(f"{PSQL} -c 'CREATE TABLE kept AS SELECT 42 AS answer'")
    shell("minidock rm -f MyPostgres")

    shell(with_volume)
    shell(READY)
    assert shell(f"{PSQL} -Atc 'SELECT answer FROM kept'") == "42"


def test_commit_makes_an_image_with_one_more_layer_that_runs(shell: Shell) -> None:
    shell(f"{RUN} -d postgres")
    shell(READY)
    shell("minidock exec MyPostgres sh -c 'echo \"SELECT 6 * 7\" > /question.sql'")
    shell("minidock commit MyPostgres my-postgres")
    layers = "minidock image inspect -f '{{len .RootFS.Layers}}'"
    assert int(shell(f"{layers} my-postgres")) == int(shell(f"{layers} postgres")) + 1
    shell("minidock rm -f MyPostgres")

    shell(f"{RUN} -d my-postgres")
    shell(READY)
    answer = shell("minidock exec MyPostgres psql -U postgres -At -f /question.sql")
    assert answer == "42"
