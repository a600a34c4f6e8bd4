"""jsontext reads and writes what the standard library's json does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minidock import jsontext

ROOT = Path(__file__).resolve().parents[2]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@pytest.mark.slow
@given(VALUES)
def test_what_it_writes_json_reads(value: object) -> None:
    assert json.loads(jsontext.dumps(value)) == value


@pytest.mark.slow
@given(VALUES, st.sampled_from([None, 1, 4]))
def test_what_json_writes_it_reads(value: object, indent: int | None) -> None:
    assert jsontext.loads(json.dumps(value, indent=indent)) == value


@pytest.mark.parametrize("text", ["", "{", "[1,]", "NaN", "{} x", "{'a': 1}", "tru", '"\n"'])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(text)


def test_what_is_not_json_is_refused_where_nobody_has_imported_json() -> None:
    program = "\n".join(
        [
            "import sys",
            "from minidock import jsontext",
            # Before the first error: to raise it, Python 3.13's scanner imports json itself.
            "assert 'json' not in sys.modules",
            "for text in ['[[]x]', '{', '{\"a\" 1}', '[1 2]', '\"a', '{\"a\":1,}']:",
            "    try: jsontext.loads(text)",
            "    except ValueError: pass",
            "    else: sys.exit(text)",
        ]
    )
    environment = {**os.environ, "PYTHONPATH": "src"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=ROOT)


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        jsontext.dumps({"a": b"bytes"})
    with pytest.raises(ValueError):
        jsontext.dumps(float("nan"))
