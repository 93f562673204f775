"""Orders in pages and handoffs stay inside the one fence of whatever shows them to an agent."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest
from hostile import MARKDOWN
from injections import CASES
from playing import repository

from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope
from ai_memory_mcp.server import render

ORDERS = (*(text for _, _, text in CASES), *MARKDOWN)


def shown(text: str) -> str:
    """The text without what nobody sees, which could hide a marker."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf"))


def assert_fenced(said: str, marker: str) -> None:
    """The markers are ours alone: one opens, one closes, and no order stands before or behind."""
    said = shown(said)
    assert len(re.findall(rf"<\s*/?\s*{marker}", said, re.I)) == 2
    opening, closing = said.index(f"<{marker}"), said.index(f"</{marker}>")
    assert opening < closing
    outside = said[:opening] + said[closing:]
    assert not [line for order in ORDERS for line in order.splitlines() if len(line) > 20 and line in outside]


@pytest.mark.slow
def test_no_stored_order_leaves_its_fence_in_search_read_handoff_or_brief(own_home: Path, memory: LocalMemory) -> None:
    scope = Scope(cwd=str(repository(own_home / "work", remote="git@example.com:me/work.git")))
    assert len(ORDERS) >= 100
    for number, order in enumerate(ORDERS):
        line = " ".join(order.split())[:150] or "Title"
        page = memory.write(
            scope,
            Draft(title=f"{number} {line}", body=f"Parser {number}.\n\n{order}\n", tags=(line[:40],), kind="rule"),
        )
        assert_fenced(render.document(memory.read(scope, page.path)), "memory-data")
    assert_fenced(render.answer(memory.search(scope, Query(text="parser", limit=100))), "memory-data")
    left = memory.leave_handoff(
        scope, HandoffDraft(summary=ORDERS[46], next_steps=ORDERS[40:60], files_touched=ORDERS[50:58])
    )
    assert_fenced(render.handoff(left), "memory-data")
    assert_fenced(memory.brief(scope).text, "ai-memory-brief")
