"""What is gone is remembered by ids alone, across processes and crashes."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from ai_memory_mcp.tombstones import Tombstone, Tombstones, path_mark

NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)
PAGE = Tombstone(kind="page", id="p1", project="zoo", why="evicted", at=NOW)


def test_what_is_gone_is_known_to_every_process(tmp_path: Path) -> None:
    here, other = Tombstones(tmp_path), Tombstones(tmp_path)
    assert not other.has("page", "p1", "zoo")
    assert here.add([PAGE, PAGE]) == 1

    assert other.has("page", "p1", "zoo") == PAGE
    assert not other.has("page", "p1", "farm")
    assert not other.has("session", "p1", "zoo")
    assert other.ids("page") == {"p1"}
    assert other.of("zoo") == [PAGE]


def test_noting_it_again_changes_nothing_and_a_graver_reason_counts(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    stones.add([PAGE])
    size = stones.path.stat().st_size

    assert stones.add([PAGE]) == 0
    assert stones.path.stat().st_size == size
    assert stones.add([PAGE.model_copy(update={"why": "erased"})]) == 1
    found = stones.has("page", "p1", "zoo")
    assert found
    assert found.why == "erased"


def test_what_is_lifted_may_come_again(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    stones.add([PAGE])
    stones.lift([PAGE], NOW)

    assert not stones.has("page", "p1", "zoo")
    assert stones.ids("page") == frozenset()
    assert stones.add([PAGE]) == 1
    assert stones.has("page", "p1", "zoo")


def test_a_torn_line_takes_no_other_with_it(tmp_path: Path) -> None:
    stones = Tombstones(tmp_path)
    stones.add([PAGE])
    whole = stones.path.read_bytes()
    for cut in range(len(whole)):
        stones.path.write_bytes(whole[:cut])
        later = PAGE.model_copy(update={"id": "p2"})
        Tombstones(tmp_path).add([later])
        assert Tombstones(tmp_path).has("page", "p2", "zoo") == later


def test_the_mark_of_a_path_does_not_tell_it(tmp_path: Path) -> None:
    mark = path_mark("zoo", "notes/okapi.md")

    assert "okapi" not in mark
    assert mark != path_mark("farm", "notes/okapi.md")
