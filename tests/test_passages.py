"""Passages: nothing of a text is lost, and cuts come where a reader would make them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.passages import PASSAGE, passages


@given(st.text(alphabet=st.sampled_from("ab .\n#"), max_size=300), st.integers(min_value=1, max_value=100))
def test_passages_together_are_the_text(text: str, times: int) -> None:
    whole = text * times
    found = passages(whole)

    assert "".join(found) == whole
    assert max(map(len, found)) <= PASSAGE


def test_a_short_text_is_one_passage() -> None:
    assert passages("") == [""]
    assert passages("short") == ["short"]


def test_a_long_text_is_cut_before_a_heading() -> None:
    text = "word " * 500 + "\n\n## Second\n\n" + "more " * 600
    first, second = passages(text)

    assert second.startswith("## Second")
    assert first.endswith("\n")
