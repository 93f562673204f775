"""The figures of status: growth, sizes, junk, loss and slow calls, and who may see which of them."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playing import Player, put

from ai_memory_mcp import sizes, slow
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Figures, Query, Scope

DAY = timedelta(days=1)


def figures(memory: LocalMemory, scope: Scope) -> Figures:
    found = memory.status(scope).figures
    assert found
    return found


def test_what_came_in_during_the_last_day_and_week_is_counted(
    memory: LocalMemory, here: Scope, home: Path, work: Path
) -> None:
    for name, days in (("now", 0), ("lately", 3), ("once", 30)):
        Player(home, work, name, ago=days * 86_400 + 300).start().works().ends()
    memory.ingest()
    found = figures(memory, here)

    assert (found.day.sessions, found.week.sessions) == (1, 2)
    assert found.day.observations * 2 == found.week.observations > 0
    assert (found.day.pages, found.week.pages) == (1, 2)
    assert found.loss.model_dump() == {"lost": 0, "rate": 0.0, "hook_failures": 0}


def test_pages_that_nobody_needs_are_counted_once_each(memory: LocalMemory, here: Scope, work: Path) -> None:
    titles = ("Old", "Opened", "A title")
    pages = {title: memory.write(here, Draft(title=title, body="Text.")) for title in titles}
    pages["again"] = memory.write(here, Draft(title="a title", body="Text.", kind="procedure"))
    memory.write(here, Draft(title="New", body="new", supersedes=(pages["Old"].path,)))
    wiki = memory.res.wiki(memory.projects()[0]).folder
    long_ago = f"{datetime.now(timezone.utc) - 100 * DAY:%Y-%m-%dT%H:%M:%SZ}"
    for name in ("again", "Opened"):
        path = wiki / pages[name].path
        path.write_text(re.sub("^updated: .*$", f"updated: {long_ago}", path.read_text(), flags=re.M))
    memory.read(here, pages["Opened"].path)
    memory.ingest()
    junk = figures(memory, here).junk

    assert (junk.pages, junk.superseded, junk.duplicates, junk.never_recalled) == (5, 1, 1, 1)
    assert junk.rate == pytest.approx(2 / 5), "one page is both"


def test_sizes_are_measured_once_a_day_and_growth_is_told_from_them(
    memory: LocalMemory, here: Scope, home: Path
) -> None:
    first = figures(memory, here)
    assert first.sizes["index"] > 0
    assert first.week.bytes is None, "nothing was measured so long ago"
    now = datetime.now(timezone.utc)
    old = [sizes.Measured(at=now - days * DAY, sizes={"wiki": 1_000 * (10 - days)}) for days in (8, 2)]
    (home / sizes.FILE).write_text("torn\n" + "".join(f"{one.model_dump_json()}\n" for one in old))
    os.utime(home / sizes.FILE, ((now - 2 * DAY).timestamp(),) * 2)
    memory.once_a_day()
    memory.once_a_day()
    known = sizes.noted(home)
    found = figures(memory, here)

    assert len(known) == 3
    assert found.day.bytes == known[2].total - known[1].total
    assert found.week.bytes == known[2].total - known[0].total
    assert found.measured == known[2].at


def test_a_slow_call_is_noted_without_what_was_asked(
    memory: LocalMemory, here: Scope, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.search(here, Query(text="okapi"))
    assert slow.noted(home) == []
    monkeypatch.setattr(slow, "LONG", 0.0)
    memory.search(here, Query(text="okapi"))
    monkeypatch.setattr(slow, "LONG", 60.0)
    found = figures(memory, here)

    assert [one.what for one in found.slow] == ["search"]
    assert found.slow_calls == 1
    assert "okapi" not in (home / slow.FILE).read_text()


def test_the_log_of_slow_calls_stays_small_and_damage_hurts_nobody(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / slow.FILE).write_text("torn li\n" + "2020-01-01T00:00:00Z read 1.5\n" * 3_000)
    slow.note(home, "search", 2.25)
    found = slow.noted(home)

    assert (home / slow.FILE).stat().st_size < slow.LARGE
    assert (found[-1].what, found[-1].seconds) == ("search", 2.2)
    assert {one.what for one in found[:-1]} == {"read"}


def test_events_that_were_set_aside_and_are_gone_are_lost(
    memory: LocalMemory, here: Scope, home: Path, work: Path
) -> None:
    put(home, f"{'1' * 20}-1-0000000a-0123456789abcdef.json", b'{"torn')
    Player(home, work, "one").start().works().ends()
    memory.ingest()
    assert figures(memory, here).loss.lost == 0
    for path in (home / "spool" / "set-aside").iterdir():
        path.unlink()
    loss = figures(memory, here).loss

    assert loss.lost == 1
    assert loss.rate == pytest.approx(1 / memory.status(here).capture.seen)


def test_the_commands_tell_the_figures(
    memory: LocalMemory,
    here: Scope,
    home: Path,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Player(home, work, "one").start().works().ends()
    memory.ingest()
    slow.note(home, "search", 3.0)
    monkeypatch.chdir(work)
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["figures"]
    assert told["week"]["sessions"] == 1
    assert told["slow"][0]["seconds"] == 3.0
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    for words in (
        "last week 1 sessions",
        "disk      ",
        "junk      0% of 1 pages",
        "loss      0 events",
        "search, 3.0 s",
    ):
        assert words in out
    main(["doctor", "--json"])
    findings = " ".join(one["message"] for one in json.loads(capsys.readouterr().out)["findings"])
    assert "in the last week 1 sessions" in findings
    assert "0% of 1 pages are needed by nobody" in findings
    assert "search took 3.0 s" in findings
