"""Merging two versions of a page: no line is lost, what cannot be decided stays in both versions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp import markdown
from ai_memory_mcp.merging import CONFLICT, END, FIRST, OTHER, has_conflict, merge

PAGE = """\
---
id: p1
title: Parser
tags: [a, b]
updated: 2026-11-01T00:00:00Z
state: open
---
# Parser

- one
- two
- three
"""


def test_edits_of_different_lines_are_both_there() -> None:
    merged = merge(PAGE, PAGE.replace("- one", "- ONE"), PAGE.replace("- three", "- THREE"))

    assert merged.text == PAGE.replace("- one", "- ONE").replace("- three", "- THREE")
    assert not merged.conflict


def test_what_both_have_added_at_the_same_place_is_no_conflict() -> None:
    merged = merge(PAGE, PAGE + "- here\n- both\n", PAGE + "- there\n- both\n")

    assert merged.text == PAGE + "- here\n- there\n- both\n"
    assert not merged.conflict


def test_a_line_that_both_have_changed_stays_in_both_versions() -> None:
    merged = merge(PAGE, PAGE.replace("two", "here"), PAGE.replace("two", "there"))

    assert merged.text == PAGE.replace("- two\n", f"{FIRST}- here\n{OTHER}- there\n{END}")
    assert merged.conflict
    assert has_conflict(merged.text)
    assert not has_conflict(PAGE)


def test_two_new_pages_at_one_path_keep_what_they_do_not_share() -> None:
    merged = merge(None, "# T\n\nPostgres\n", "# T\n\nRedis\n")

    assert merged.text == f"# T\n\n{FIRST}Postgres\n{OTHER}Redis\n{END}"
    assert merged.conflict


def test_front_matter_is_merged_by_key() -> None:
    here = PAGE.replace("[a, b]", "[b, here]").replace("11-01", "11-02").replace("state: open", "state: closed")
    there = PAGE.replace("[a, b]", "[a, b, there]").replace("11-01", "11-03").replace("state: open", "state: accepted")
    merged = merge(PAGE, here, there)

    assert merged.text == PAGE.replace("[a, b]", "[b, here, there]").replace("11-01", "11-03").replace("open", "closed")
    assert not merged.conflict


def test_of_a_value_that_both_have_changed_the_newer_counts_and_the_other_is_kept() -> None:
    here = PAGE.replace("Parser\ntags", "Here\ntags").replace("11-01", "11-05")
    there = PAGE.replace("Parser\ntags", "There\ntags").replace("11-01", "11-04")
    for merged in (merge(PAGE, here, there), merge(PAGE, there, here)):
        meta = markdown.parse(merged.text)[0]
        assert meta["title"] == "Here"
        assert meta[CONFLICT] == {"title": "There"}
        assert merged.conflict
        assert has_conflict(merged.text)


def test_who_accepted_first_has_the_handoff_and_the_other_is_named() -> None:
    here = PAGE.replace("state: open", "state: accepted\naccepted: 2026-11-02T10:05:00Z\naccepted_by: codex")
    there = PAGE.replace("state: open", "state: accepted\naccepted: 2026-11-02T10:00:00Z\naccepted_by: claude-code")
    for merged in (merge(PAGE, here, there), merge(PAGE, there, here)):
        meta = markdown.parse(merged.text)[0]
        assert (meta["state"], meta["accepted_by"], meta["accepted"]) == (
            "accepted",
            "claude-code",
            "2026-11-02T10:00:00Z",
        )
        assert meta["also_accepted_by"] == ["codex"]
        assert not merged.conflict


def test_an_accepted_handoff_is_not_opened_by_an_older_word() -> None:
    taken = PAGE.replace("state: open", "state: closed")
    merged = merge(None, PAGE.replace("- one", "- 1"), taken)

    assert markdown.parse(merged.text)[0]["state"] == "closed"


def test_broken_front_matter_is_merged_as_lines() -> None:
    broken = PAGE.replace("title: Parser", "title: [Parser")
    merged = merge(PAGE, broken, PAGE + "- four\n")

    assert merged.text == broken + "- four\n"


line = st.sampled_from(["a", "b", "c", "", "- x", "```"]) | st.text("xyz\u00e9 ", max_size=3)
body = st.lists(line, max_size=12)


@given(base=st.none() | body, ours=body, theirs=body)
def test_no_line_is_lost(base: list[str] | None, ours: list[str], theirs: list[str]) -> None:
    """What is in a version and was not in the common one is in the result, and so is what all three have."""
    old, mine, other = ("\n".join(lines) if lines is not None else None for lines in (base, ours, theirs))
    assert mine is not None
    assert other is not None
    merged = merge(old, mine, other)
    found = merged.text.split("\n")

    new = {one for one in ours if one not in (base or ())} | {one for one in theirs if one not in (base or ())}
    assert new <= set(found)
    assert {one for one in base or () if one in ours and one in theirs} <= set(found)
    assert merge(old, mine, mine).text == mine
    assert merge(mine, mine, other).text == other
    assert merge(other, mine, other).text == mine
