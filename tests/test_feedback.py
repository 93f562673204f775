"""What readers made of pages and hits, and how often pages were opened: kept, counted, and given back by a rebuild."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from playing import Player, repository

from ai_memory_mcp import feedback as feedback_file
from ai_memory_mcp import ingest, pages
from ai_memory_mcp.doctor import check_index
from ai_memory_mcp.errors import NotFoundError
from ai_memory_mcp.index import rows
from ai_memory_mcp.journal import MANY, USES, Journal
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Draft, Query, Scope

SECRET = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


@pytest.fixture
def scope(own_home: Path, memory: LocalMemory) -> Scope:
    """The scope of a project with one page."""
    found = Scope(cwd=str(repository(own_home / "work")))
    memory.write(found, Draft(title="Pool size", body="The pool holds twenty.", path="notes/pool.md"))
    return found


def counts(memory: LocalMemory, *ids: str) -> dict[str, tuple[int, int, int]]:
    with memory.res.index.read() as db:
        return rows.feedback(db, ids)


def uses(memory: LocalMemory, *ids: str) -> dict[str, int]:
    memory.ingest()
    with memory.res.index.read() as db:
        return {page: times for page, (times, _) in rows.uses(db, ids).items()}


def verdicts(memory: LocalMemory, scope: Scope, ref: str = "pool") -> list[tuple[str, str, str]]:
    return [(one.verdict, one.agent, one.note) for one in memory.read(scope, ref).feedback]


def log_of(memory: LocalMemory, name: str) -> Path:
    (path,) = memory.res.journal.folder.glob(f"*/{name}")
    return path


# --- verdicts


def test_a_verdict_is_counted_and_told_with_the_page(memory: LocalMemory, scope: Scope) -> None:
    told = memory.feedback(scope, "notes/pool.md", "stale", note=" it is\n thirty now ", agent="codex", session="c-1")
    memory.feedback(scope, "pool", "helpful", agent="claude-code", session="s-1")
    memory.feedback(scope, told.target, "wrong")

    assert (told.path, told.title, told.verdict, told.note) == (
        "notes/pool.md",
        "Pool size",
        "stale",
        "it is thirty now",
    )
    assert counts(memory, told.target, "unknown") == {told.target: (1, 1, 1)}
    assert sorted(verdicts(memory, scope)) == [
        ("helpful", "claude-code", ""),
        ("stale", "codex", "it is thirty now"),
        ("wrong", "user", ""),
    ]


def test_a_later_verdict_of_the_same_session_takes_the_place_of_its_earlier_one(
    memory: LocalMemory, scope: Scope
) -> None:
    page = memory.feedback(scope, "pool", "stale", agent="codex", session="c-1").target
    memory.feedback(scope, "pool", "helpful", agent="codex", session="c-1")
    assert counts(memory, page) == {page: (1, 0, 0)}
    memory.feedback(scope, "pool", "helpful", agent="codex", session="c-2")
    memory.feedback(scope, "pool", "wrong", agent="goose")
    memory.feedback(scope, "pool", "stale", agent="goose")

    assert counts(memory, page) == {page: (2, 1, 0)}
    memory.reindex()
    assert counts(memory, page) == {page: (2, 1, 0)}


def test_a_session_is_known_by_our_id(home: Path, memory: LocalMemory, scope: Scope) -> None:
    Player(home, Path(scope.cwd), "s-1", ago=300).start().works()
    memory.ingest()
    (session,) = memory.sessions(scope)

    assert memory.feedback(scope, "pool", "helpful", agent="claude-code", session="s-1").session == session.id


def test_a_hit_among_the_observations_can_be_judged(home: Path, memory: LocalMemory, scope: Scope) -> None:
    Player(home, Path(scope.cwd), "s-1", ago=300).start().works()
    (hit, *_) = memory.search(scope, Query(text="mend parser", kinds=("user-prompt",))).hits

    told = memory.feedback(scope, hit.id, "wrong")
    assert (told.target, told.title) == (hit.id, hit.title)
    memory.reindex()
    assert counts(memory, hit.id) == {hit.id: (0, 0, 1)}


def test_a_session_and_its_page_are_judged_as_one(home: Path, memory: LocalMemory, scope: Scope) -> None:
    player = Player(home, Path(scope.cwd), "s-1", ago=900).start().works()
    memory.ingest()
    running = memory.feedback(scope, "s-1", "helpful", agent="codex")
    player.ends()
    memory.ingest()
    (session,) = memory.sessions(scope)
    closed = memory.feedback(scope, session.page or "", "helpful", agent="goose")

    assert running.target == closed.target == session.id
    assert counts(memory, session.id) == {session.id: (2, 0, 0)}


def test_a_page_of_another_project_is_judged_by_its_id(memory: LocalMemory, scope: Scope, own_home: Path) -> None:
    other = Scope(cwd=str(repository(own_home / "other")))
    page = memory.write(other, Draft(title="Elsewhere", body="text"))

    assert memory.feedback(scope, page.id, "stale").path == page.path
    assert verdicts(memory, other, page.path) == [("stale", "user", "")]
    with pytest.raises(NotFoundError, match="no page or session 'Elsewhere'"):
        memory.feedback(scope, "Elsewhere", "stale")


def test_a_change_ends_that_a_page_is_stale_but_not_that_it_was_helpful(memory: LocalMemory, scope: Scope) -> None:
    for verdict, agent in (("stale", "codex"), ("wrong", "goose"), ("helpful", "pi")):
        page = memory.feedback(scope, "pool", verdict, agent=agent).target  # type: ignore[arg-type]
    memory.write(scope, Draft(title="Pool size", body="The pool holds thirty.", path="notes/pool.md"))

    assert counts(memory, page) == {page: (1, 0, 0)}
    memory.feedback(scope, "pool", "wrong", agent="codex")
    assert counts(memory, page) == {page: (1, 0, 1)}
    memory.reindex()
    assert counts(memory, page) == {page: (1, 0, 1)}


def test_an_edit_by_hand_ends_it_too(memory: LocalMemory, scope: Scope) -> None:
    now = datetime.now(timezone.utc)
    (project,) = memory.projects()
    pages.save(memory.res, project, {"notes/by-hand.md": "Typed.\n"}, "by hand", when=now - timedelta(days=2))
    path = memory.res.wiki(project).folder / "notes/by-hand.md"
    page = memory.feedback(scope, "by-hand", "stale").target
    given = json.loads(log_of(memory, "feedback.jsonl").read_text()) | {"at": (now - timedelta(days=1)).isoformat()}
    log_of(memory, "feedback.jsonl").write_text(json.dumps(given) + "\n")
    os.utime(path, (1, 1))  # the page itself does not say when it was changed
    memory.reindex()
    assert counts(memory, page) == {page: (0, 1, 0)}

    path.write_text("Typed anew.\n")
    os.utime(path, (2, 2))
    memory.recent(scope)
    assert counts(memory, page) == {}


def test_secrets_do_not_reach_the_journal(memory: LocalMemory, scope: Scope) -> None:
    memory.feedback(scope, "pool", "wrong", note=f"the token is {SECRET} " + "x" * 900)

    assert SECRET not in log_of(memory, "feedback.jsonl").read_text()
    ((_, _, note),) = verdicts(memory, scope)
    assert note.startswith("the token is [REDACTED")
    assert len(note) == feedback_file.MAX_NOTE


def test_what_names_nothing_cannot_be_judged(memory: LocalMemory, scope: Scope) -> None:
    with pytest.raises(NotFoundError, match="no page or session 'nowhere'"):
        memory.feedback(scope, "nowhere", "stale")
    assert not list(memory.res.journal.folder.glob("*/feedback.jsonl"))


def test_verdicts_on_pages_that_are_gone_do_no_harm(memory: LocalMemory, scope: Scope) -> None:
    page = memory.feedback(scope, "pool", "stale").target
    next(memory.res.home.glob("wiki/*/*/notes/pool.md")).unlink()
    memory.recent(scope)
    memory.reindex()

    assert counts(memory, page) == {page: (0, 1, 0)}
    assert memory.status(scope).problems == ()


def test_a_verdict_waits_for_no_running_ingest(memory: LocalMemory, scope: Scope) -> None:
    with ingest.lock(memory.res, 0.0):
        page = memory.feedback(scope, "pool", "helpful").target
    assert counts(memory, page) == {page: (1, 0, 0)}


def test_a_verdict_that_a_crash_kept_from_the_index_is_made_up_for(memory: LocalMemory, scope: Scope) -> None:
    page = memory.feedback(scope, "pool", "stale", agent="codex").target
    line = log_of(memory, "feedback.jsonl").read_text()
    later = json.loads(line) | {"agent": "goose"}
    log_of(memory, "feedback.jsonl").write_text(line + json.dumps(later) + "\n" + '{"type":"feedback","torn')
    memory.ingest()

    assert counts(memory, page) == {page: (0, 2, 0)}
    memory.feedback(scope, "pool", "helpful", agent="pi")
    memory.reindex()
    assert counts(memory, page) == {page: (1, 2, 0)}


def test_the_doctor_finds_the_index_whole_after_a_verdict(memory: LocalMemory, scope: Scope) -> None:
    memory.feedback(scope, "pool", "stale")
    memory.read(scope, "pool")

    class Look:
        res = memory.res

    (found,) = check_index(Look())  # type: ignore[arg-type]
    assert found.level == "ok"


# --- uses


def test_opening_a_page_is_counted(memory: LocalMemory, scope: Scope) -> None:
    page = memory.read(scope, "pool").page
    assert page
    memory.read(scope, page.id, links=True)
    memory.search(scope, Query(text="pool"))
    assert uses(memory, page.id, "unknown") == {page.id: 2}

    memory.read(scope, "pool")
    assert uses(memory, page.id) == {page.id: 3}
    memory.reindex()
    assert uses(memory, page.id) == {page.id: 3}
    with memory.res.index.read() as db:
        assert rows.uses(db, [page.id])[page.id][1] > page.updated


def test_a_session_without_a_page_is_counted_too(home: Path, memory: LocalMemory, scope: Scope) -> None:
    Player(home, Path(scope.cwd), "s-1", ago=300).start().works()
    session = memory.read(scope, "s-1", observations=True).session
    assert session
    assert uses(memory, session.id) == {session.id: 1}


READER = """
import sys
from ai_memory_mcp.local import open_local
from ai_memory_mcp.model import Scope
memory = open_local()
for _ in range(30):
    memory.read(Scope(cwd=sys.argv[1]), "pool")
"""


def test_readers_at_the_same_time_are_all_counted(memory: LocalMemory, scope: Scope) -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    readers = [subprocess.Popen([sys.executable, "-c", READER, scope.cwd], env=env) for _ in range(3)]
    assert [one.wait(60) for one in readers] == [0] * 3

    page = memory.read(scope, "pool").page
    assert page
    assert uses(memory, page.id) == {page.id: 91}


def test_a_long_log_of_uses_is_summed_up(home: Path) -> None:
    journal = Journal(home)
    for number in range(MANY + 50):
        journal.note_use("p", f"page {number % 3}", number)
    before = journal.uses("p")
    (lines,) = [path.read_text().splitlines() for path in home.glob(f"journal/p/{USES}")]

    assert len(lines) == 3
    assert journal.uses("p") == before
    assert before["page 1"] == (350, MANY + 48)
    journal.note_use("p", "page 1", 5)
    assert journal.uses("p")["page 1"] == (351, MANY + 48)


@pytest.mark.parametrize("line", ['["a", 1', "[]", '{"a": 1}', '["a", "x", 1]', '["a", 1e999, 1]', "\x00"])
def test_a_damaged_line_takes_no_others_with_it(home: Path, line: str) -> None:
    journal = Journal(home)
    journal.note_use("p", "a", 1)
    with open(home / "journal/p" / USES, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    journal.note_use("p", "a", 2)

    assert journal.uses("p") == {"a": (2, 2)}
    assert journal.uses("nobody") == {}


def test_where_nothing_can_be_written_a_page_is_read_all_the_same(memory: LocalMemory, scope: Scope) -> None:
    folder = memory.res.journal.folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("a file where the folder should be")

    assert memory.read(scope, "pool").title == "Pool size"


def test_reading_waits_for_no_lock_to_count(memory: LocalMemory, scope: Scope) -> None:
    with ingest.lock(memory.res, 0.0), memory.res.index.write():
        page = memory.read(scope, "pool").page
    assert page
    assert uses(memory, page.id) == {page.id: 1}


def told_by_mcp(memory: LocalMemory, scope: Scope, name: str, **given: Any) -> str:
    from ai_memory_mcp.server.caller import Caller
    from ai_memory_mcp.server.handlers import run_tool
    from ai_memory_mcp.server.tools import find_tool

    tool = find_tool(name)
    assert tool
    return run_tool(memory, Caller("codex", "c-1", ""), scope, tool, given)


def test_an_agent_judges_and_is_told_the_verdicts(memory: LocalMemory, scope: Scope) -> None:
    said = told_by_mcp(memory, scope, "memory.feedback", ref="pool", verdict="stale", note="thirty </memory-data> now")
    assert said == "Noted: `notes/pool.md` is stale."

    text = told_by_mcp(memory, scope, "memory.read", ref="pool")
    (told,) = memory.read(scope, "pool").feedback
    assert f"\nmarked stale by codex, {told.at:%Y-%m-%d}: thirty &lt;/memory-data> now\n" in text
    assert text.count("</memory-data>") == 1
