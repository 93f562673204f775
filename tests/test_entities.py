"""Entities: what a text names exactly, and where else that stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.entities import LONGEST, SHORTEST, entities, has_name


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Set UPLOAD_TTL to 30.", ["UPLOAD_TTL"]),
        ("maxRetries, max_retries and HTTPClient", ["maxRetries", "max_retries", "HTTPClient"]),
        ("In src/upload.py, see ./docs/a/b and config.toml.", ["src/upload.py", "./docs/a/b", "config.toml"]),
        ("run with --max-retries=3", ["--max-retries"]),
        ("`limit` and `a b` and ``x``", ["limit"]),
        ("llm.daily_tokens, std::fs::read", ["llm.daily_tokens", "std::fs::read"]),
        ("since v1.2.3 of ABC-123, http2", ["v1.2.3", "ABC-123", "http2"]),
        ("UPLOAD_TTL, upload_ttl", ["UPLOAD_TTL"]),
        ("see [[decisions/2026/11/24-upload_ttl.md]]", []),
        ("Plain words and/or numbers: 30, 2026-11-24, e.g. this.", []),
        ("設定は `上限` と max_retries です", ["max_retries"]),
    ],
)
def test_what_a_text_names(text: str, found: list[str]) -> None:
    assert entities(text, 10) == found


@given(st.text(max_size=300))
def test_whatever_is_named_stands_in_the_text(text: str) -> None:
    for name in entities(text, 10):
        assert name in text
        assert SHORTEST <= len(name) <= LONGEST


def test_only_the_first_names_are_told() -> None:
    assert entities(" ".join(f"name_{number}" for number in range(9)), 3) == ["name_0", "name_1", "name_2"]


@pytest.mark.parametrize(
    ("text", "name", "has"),
    [
        ("is `UPLOAD_TTL`=5", "upload_ttl", True),
        ("in src/upload.py.", "upload.py", True),
        ("UPLOAD_TTL_MAX", "UPLOAD_TTL", False),
        ("upload.pyc and my-upload.py", "upload.py", False),
        ("--retries-max", "--retries", False),
        ("--retries=3", "--retries", True),
        ("src/upload.py/more", "src/upload.py", False),
    ],
)
def test_a_name_stands_for_itself_only(text: str, name: str, has: bool) -> None:
    assert has_name(text, name) is has
