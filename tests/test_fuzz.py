"""What `python tests/fuzz` looks for, in short: the seeds, random bytes, and a guided run where that can be."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(FUZZ))
from areas import AREAS  # noqa: E402

SEEDS = sorted((FUZZ / "seeds").glob("*/*"))


@pytest.mark.parametrize("area", AREAS)
def test_every_seed_keeps_the_promise_of_its_area(area: str) -> None:
    seeds = [seed for seed in SEEDS if seed.parent.name == area]
    assert len(seeds) >= 5
    for seed in seeds:
        AREAS[area](seed.read_bytes())


@pytest.mark.parametrize("area", AREAS)
@settings(max_examples=60, deadline=None)
@example(b"")
@given(data=st.binary(max_size=400) | st.text(max_size=200).map(lambda text: b"\0\1" + text.encode("utf-8", "replace")))
def test_any_bytes_keep_the_promise_of_the_area(area: str, data: bytes) -> None:
    AREAS[area](data)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("area", AREAS)
def test_a_guided_search_of_a_few_seconds_finds_nothing(area: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), area, "5"],
        cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert "number_of_executed_units" in done.stderr
