"""The index: private, of one version, whole or not at all, and readable while it is written."""

from __future__ import annotations

import os
import sqlite3
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest

from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Index
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.model import Observation

AT = datetime(2026, 1, 1, tzinfo=timezone.utc)
SESSION = SessionRow(id="s", number=1, agent="codex", native_id="s", project="p", started=AT, last=AT)


@pytest.fixture
def index(home: Path) -> Index:
    home.mkdir(mode=0o700)
    found = Index(home)
    with found.write() as db:
        rows.set_meta(db, "complete", "1")
    return found


def test_it_is_private_and_leaves_no_companions(index: Index) -> None:
    assert stat.S_IMODE(index.path.stat().st_mode) == 0o600
    assert [path.name for path in index.path.parent.glob("index.db*")] == ["index.db"]


def test_an_error_undoes_the_whole_transaction(index: Index) -> None:
    def fail() -> None:
        with index.write() as db:
            rows.set_meta(db, "half", "1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with index.read() as db:
        assert rows.metas(db, "half") == {}


def test_it_is_not_ready_before_it_is_complete(home: Path) -> None:
    home.mkdir()
    index = Index(home)
    assert not index.ready()
    with index.write():
        pass
    assert not index.ready()
    with index.write() as db:
        rows.set_meta(db, "complete", "1")
    assert index.ready()


def test_another_version_is_refused(index: Index) -> None:
    db = sqlite3.connect(index.path)
    db.execute("PRAGMA user_version = 77")
    db.close()
    assert not index.ready()
    with pytest.raises(StorageError, match="reindex"), index.read():
        pass
    with pytest.raises(StorageError, match="version 77"), index.write():
        pass


def test_readers_see_the_state_before_a_running_write(index: Index) -> None:
    with index.write() as writing:
        rows.set_meta(writing, "fact:a", "1")
        with index.read() as reading:
            assert rows.metas(reading, "fact:") == {}
    with index.read() as reading:
        assert rows.metas(reading, "fact:") == {"a": "1"}


def test_readers_cannot_write(index: Index) -> None:
    with pytest.raises(StorageError), index.read() as db:
        rows.set_meta(db, "a", "b")


def test_an_observation_is_stored_once(index: Index) -> None:
    seen = Observation(id="a", session="s", at=AT, kind="user-prompt", text="hello", key="k")
    with index.write() as db:
        heard: set[str] = set()
        assert rows.put_observation(db, SESSION, seen, real=True, heard=heard)
        assert heard == {"hello"}
        again = seen.model_copy(update={"text": "other"})
        assert not rows.put_observation(db, SESSION, again, real=True, heard=heard)
        assert heard == {"hello"}
        assert rows.counts(db, ["p"]).observations == 1
        assert rows.times_of_key(db, "s", "k") == [rows.millis(AT)]


def test_what_is_set_aside_counts_until_it_is_stored(index: Index) -> None:
    with index.write() as db:
        rows.put_unstored(db, "a", "set_aside", "")
        assert rows.is_aside(db, "a")
        assert rows.known_events(db, ["a"]) == set()
        stop = Observation(id="a", session="s", at=AT, kind="stop")
        rows.put_observation(db, SESSION, stop, real=False, heard=set())
        rows.put_unstored(db, "a", "set_aside", "")
        assert rows.unstored_counts(db) == {}
        rows.put_unstored(db, "b", "set_aside", "")
        rows.put_offer(db, "b", "s", "h", 1)
        assert rows.unstored_counts(db) == {}


@pytest.mark.skipif(os.name != "posix", reason="an open file is in the way there")
def test_while_somebody_holds_it_its_log_stays_and_nobody_is_hindered(index: Index) -> None:
    held = index.hold()
    assert held is not None
    with index.write() as db:
        rows.set_meta(db, "one", "1")
    assert index.path.with_name("index.db-wal").exists()
    with index.beside().write() as db:
        rows.set_meta(db, "complete", "1")
    index.become(index.beside(), lambda: None)
    with index.read() as db:
        assert rows.metas(db, "one") == {}
    assert index.path.with_name("index.db-wal").stat().st_size == 0
    index.discard()
    assert not index.ready()
    assert index.hold() is None
    held.close()
