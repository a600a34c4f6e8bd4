"""What the tests count on of the programs that run them."""

from __future__ import annotations

import os

import pytest


@pytest.mark.xdist_group("kept")
def test_tests_of_a_group_stay_on_one_worker(request: pytest.FixtureRequest) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:  # xdist goes by what it appends to a test's name
        assert request.node.nodeid.endswith("@kept")
