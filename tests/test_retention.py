"""forget-sweep: what has had its time, what never has, and that nothing of it comes back."""

from __future__ import annotations

import gzip
import io
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from invariants import rows_of
from playing import Player, put

from ai_memory_mcp import unstored
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config
from ai_memory_mcp.index import rows
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.markdown import stamp
from ai_memory_mcp.model import Draft, Feedback, Page, Query, Scope, Sweep
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.retention import kept_days

DAY = 86_400.0
NOW = datetime(2026, 11, 26, tzinfo=timezone.utc)


def write(memory: LocalMemory, here: Scope, title: str, days: int, **more: object) -> Page:
    """Write a page that nobody has touched for so many days."""
    page = memory.write(here, Draft.model_validate({"title": title, "body": f"{title}.", **more}))
    file = memory.res.wiki_at(memory.projects()[0].workspace_id, page.project).folder / page.path
    when = stamp(datetime.now(timezone.utc) - timedelta(days=days))
    file.write_text(re.sub("^updated: .*$", f"updated: {when}", file.read_text(), flags=re.M))
    return page


def refs(found: Sweep, what: str = "page") -> list[str]:
    return [one.ref for one in found.items if one.what == what]


def old_session(memory: LocalMemory, work: Path, name: str, days: float, more: int = 0) -> str:
    """Play a session of so many days ago and have it closed; gives its id."""
    player = Player(memory.res.home, work, name, ago=days * DAY).start().works(f"the {name}")
    for number in range(more):
        player.runs(f"make part{number}", f"output {number} " * 40)
    player.ends()
    memory.ingest()
    return next(one.id for one in memory.sessions(Scope(cwd=str(work))) if one.native_id == name)


def page(**more: object) -> Page:
    told = {"id": "p", "path": "notes/p.md", "title": "P", "kind": "note", "project": "zoo", "body": ""}
    return Page.model_validate({**told, "created": NOW, "updated": NOW, **more})


def test_the_formula_is_what_the_readme_says() -> None:
    said = {word: Feedback(target="p", verdict=word, at=NOW) for word in ("helpful", "stale", "wrong")}

    assert kept_days(page(), 0, ()) == 730
    assert kept_days(page(kind="session"), 0, ()) == 730
    assert kept_days(page(kind="handoff"), 0, ()) == 180
    assert kept_days(page(), 4, ()) == 1460
    assert kept_days(page(), 100, ()) == 2190
    assert kept_days(page(), 0, [said["helpful"], said["stale"]]) == 730
    assert kept_days(page(), 0, [said["wrong"]]) == 182.5
    assert kept_days(page(status="superseded"), 0, ()) == 182.5
    assert kept_days(page(pinned=True), 0, ()) is None
    assert [kept_days(page(kind=kind), 0, ()) for kind in ("rule", "decision", "slot", "project")] == [None] * 4


def test_old_pages_that_nobody_used_are_due_and_others_are_not(memory: LocalMemory, here: Scope) -> None:
    old = write(memory, here, "Old", 800)
    opened = write(memory, here, "Opened", 800)
    linked = write(memory, here, "Linked", 800)
    write(memory, here, "Pinned", 800, pinned=True)
    write(memory, here, "Decided", 8000, kind="decision")
    write(memory, here, "Young", 700)
    memory.write(here, Draft(title="Hub", body=f"See [[{linked.path}]]."))
    memory.read(here, opened.path)
    memory.ingest()
    found = memory.plan_sweep()

    assert refs(found) == [old.path]
    assert found.dry_run
    assert "untouched for 800 days of 730, never opened" in found.items[0].why
    assert refs(memory.plan_sweep(Scope(project="work"))) == [old.path]


def test_old_pages_do_not_hold_each_other_but_one_that_stays_holds_them(memory: LocalMemory, here: Scope) -> None:
    ring = [
        write(memory, here, name, 800, body=f"See [[notes/{other}.md]].") for name, other in (("A", "b"), ("B", "a"))
    ]
    memory.ingest()
    assert refs(memory.plan_sweep()) == [page.path for page in ring]

    memory.write(here, Draft(title="Hub", body=f"See [[{ring[0].path}]]."))
    assert refs(memory.plan_sweep()) == [], "what a page links to that is held by a link is held, too"


def test_what_is_swept_is_gone_from_pages_and_search_and_an_import_does_not_bring_it_back(
    memory: LocalMemory, here: Scope, tmp_path: Path
) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "old.md").write_text("---\nupdated: 2020-01-01\n---\n# Old\n\nOkapi lore.\n")
    memory.import_markdown(here, tmp_path / "vault")
    done = memory.sweep(memory.plan_sweep())
    assert refs(done) == ["notes/old.md"]
    assert not done.dry_run
    memory.reindex()

    assert not memory.import_markdown(here, tmp_path / "vault").added
    assert not memory.search(here, Query(text="okapi")).hits
    assert memory.history(here)[0].message == "Sweep 1 pages whose time is over"
    assert "Okapi lore" in memory.read(here, "notes/old.md", at=memory.history(here, "notes/old.md")[1].commit).text
    assert memory.plan_sweep().items == ()


def test_an_expired_page_goes_whatever_it_is(memory: LocalMemory, here: Scope, tmp_path: Path) -> None:
    (tmp_path / "vault" / "rules").mkdir(parents=True)
    (tmp_path / "vault" / "rules" / "old.md").write_text("---\npinned: true\nexpires_at: 2020-01-01\n---\nNo.\n")
    memory.import_markdown(here, tmp_path / "vault")

    assert refs(memory.plan_sweep()) == ["rules/old.md"]


def test_what_was_changed_after_it_was_planned_stays(memory: LocalMemory, here: Scope) -> None:
    old = write(memory, here, "Old", 800)
    planned = memory.plan_sweep()
    memory.read(here, old.path)
    memory.ingest()

    assert memory.sweep(planned).items == ()
    assert memory.read(here, old.path).page


def test_raw_observations_of_an_old_session_go_and_its_page_and_counts_stay(
    memory: LocalMemory, here: Scope, work: Path, home: Path
) -> None:
    old, young = old_session(memory, work, "parser", 400), old_session(memory, work, "lexer", 40)
    before, sessions = memory.status(here).capture, memory.sessions(here)
    assert memory.search(here, Query(text="pytest parser", kinds=("observation",))).hits
    done = memory.sweep(memory.plan_sweep())
    assert refs(done, "observations") == [old]

    for _ in range(2):
        assert memory.status(here).capture == before
        assert memory.sessions(here) == sessions
        assert not memory.read(here, old, observations=True).observations
        assert "were pruned" in memory.read(here, old, observations=True).text
        assert memory.read(here, young, observations=True).observations
        hits = memory.search(here, Query(text="pytest", kinds=("observation",))).hits
        assert {hit.session for hit in hits} == {young}
        assert refs(memory.plan_sweep(), "observations") == []
        memory.reindex()
    assert b"AssertionError" not in b"".join(path.read_bytes() for path in (home / "journal").rglob(f"{old}*"))


def test_a_crash_after_the_journal_was_pruned_is_made_up_for(memory: LocalMemory, here: Scope, work: Path) -> None:
    old = old_session(memory, work, "parser", 400)
    index = memory.res.index.path.read_bytes()
    memory.sweep(memory.plan_sweep())
    for end in ("-wal", "-shm"):
        Path(f"{memory.res.index.path}{end}").unlink(missing_ok=True)
    memory.res.index.path.write_bytes(index)
    memory.ingest()

    assert not memory.search(here, Query(text="pytest", kinds=("observation",))).hits
    assert refs(memory.plan_sweep(), "observations") == []
    assert memory.sessions(here)[0].id == old


def test_a_session_that_goes_on_after_it_was_pruned_keeps_what_its_page_said(
    memory: LocalMemory, here: Scope, work: Path, home: Path
) -> None:
    old = old_session(memory, work, "parser", 400)
    page = memory.sessions(here)[0].page
    assert page
    memory.sweep(memory.plan_sweep())
    player = Player(home, work, "parser", ago=100)
    for what in ("the lexer", "the printer"):
        player.start("resume").works(what).ends()
        memory.ingest()
        memory.reindex()
    text = memory.read(here, page).text

    assert text.count("## Before its observations were pruned") == 1
    assert "Please mend the parser" in text
    assert "lexer" in text
    assert "printer" in text
    assert len(memory.read(here, old, observations=True).observations) == 16


def test_old_journals_are_compressed_and_read_and_written_as_before(
    memory: LocalMemory, here: Scope, work: Path, home: Path
) -> None:
    one = old_session(memory, work, "parser", 60, more=20)
    seen = memory.read(here, one, observations=True).observations
    done = memory.sweep(memory.plan_sweep())
    assert refs(done, "compress") == [one]
    [packed] = (home / "journal").rglob("*.jsonl.gz")
    assert not packed.with_suffix("").exists()
    assert json.loads(gzip.decompress(packed.read_bytes()).splitlines()[0])["type"] == "session"

    for _ in range(2):
        assert memory.read(here, one, observations=True).observations == seen
        assert memory.plan_sweep().items == ()
        memory.reindex()
    Player(home, work, "parser", ago=100).start("resume").works("the lexer").ends()
    memory.ingest()
    assert not packed.exists()
    again = memory.read(here, one, observations=True).observations
    assert again[: len(seen)] == seen
    assert len(again) > len(seen)
    memory.ingest()
    before, known = memory.status(here).capture, rows_of(home)
    memory.reindex()
    assert memory.status(here).capture == before
    assert rows_of(home) == known


@pytest.mark.parametrize("kept", ["plain", "both"])
def test_a_crash_while_a_journal_is_compressed_loses_nothing(
    memory: LocalMemory, here: Scope, work: Path, home: Path, kept: str
) -> None:
    one = old_session(memory, work, "parser", 60, more=20)
    [plain] = (home / "journal").rglob("*.jsonl")
    data, before = plain.read_bytes(), memory.status(here).capture
    memory.sweep(memory.plan_sweep())
    plain.write_bytes(data)
    if kept == "plain":
        plain.with_name(f"{plain.name}.gz").unlink()
    memory.ingest()

    assert memory.status(here).capture == before
    assert refs(memory.plan_sweep(), "compress") == [one]
    memory.reindex()
    assert memory.status(here).capture == before


def test_a_journal_over_its_size_loses_its_oldest_sessions(own_home: Path, home: Path, work: Path) -> None:
    config = Config.model_validate({"retention": {"journal_mb": 1}})
    memory = LocalMemory(Resources.at(home, str(own_home), config))
    old = old_session(memory, work, "parser", 90)
    old_session(memory, work, "lexer", 10)
    assert not refs(memory.plan_sweep(), "observations")
    (home / "journal" / "unstored.jsonl").write_bytes(b"{}\n" * 400_000)
    found = memory.plan_sweep()

    assert refs(found, "observations") == [old]
    assert "1 are to be kept" in next(one.why for one in found.items)


def test_by_itself_nothing_that_somebody_wrote_goes(own_home: Path, home: Path, work: Path, here: Scope) -> None:
    plain = LocalMemory(Resources.at(home, str(own_home), Config()))
    note = write(plain, here, "Note", 800)
    mine, ours = (old_session(plain, work, name, 800) for name in ("parser", "lexer"))
    paths = {one.id: str(one.page) for one in plain.sessions(here)}
    file = plain.res.wiki_at(plain.projects()[0].workspace_id, note.project).folder / paths[mine]
    file.write_text(file.read_text() + "\nAnd this I add myself.\n")
    plain.once_a_day()
    assert set(refs(plain.plan_sweep())) >= {note.path, *paths.values()}
    memory = LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"retention": {"automatic": True}})))
    memory.once_a_day()

    left = refs(memory.plan_sweep())
    assert note.path in left
    assert paths[mine] in left
    assert paths[ours] not in left
    assert not refs(memory.plan_sweep(), "observations")
    later = old_session(memory, work, "printer", 400)
    memory.once_a_day()
    assert refs(memory.plan_sweep(), "observations") == [later], "once a day"


def test_the_command_shows_and_asks_before_it_does_anything(
    memory: LocalMemory, here: Scope, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(memory, here, "Old", 800)
    monkeypatch.chdir(work)
    assert main(["forget-sweep", "--dry-run"]) == 0
    assert "untouched for 800 days" in capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    assert main(["forget-sweep"]) == 0
    assert "its time is over: 1 pages" in capsys.readouterr().out
    assert main(["forget-sweep", "--json"]) == 1, "nobody answers"
    capsys.readouterr()
    assert main(["forget-sweep", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dry_run"]
    assert memory.read(here, old.path).page
    assert main(["forget-sweep", "--yes", "--json"]) == 0
    assert [one["ref"] for one in json.loads(capsys.readouterr().out)["items"]] == [old.path]
    assert main(["forget-sweep"]) == 0
    assert "nothing has had its time" in capsys.readouterr().out


def test_a_rebuilt_index_knows_which_sessions_were_pruned(memory: LocalMemory, work: Path) -> None:
    old = old_session(memory, work, "parser", 400)
    memory.sweep(memory.plan_sweep())
    found = []
    for _ in range(2):
        with memory.res.index.read() as db:
            row = rows.session(db, old)
        assert row
        found.append(row.model_copy(update={"number": 0}))
        memory.reindex()

    assert found[0] == found[1]
    assert found[0].pruned


def test_the_log_of_what_was_not_stored_is_summed_up_and_counts_the_same(
    memory: LocalMemory, here: Scope, work: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "LONG", 20_000)
    monkeypatch.setattr(unstored, "KEPT", 50)
    put(home, f"{'1' * 20}-1-0000000a-0123456789abcdef.json", b'{"torn')
    old_session(memory, work, "parser", 1)
    log, project = home / "journal" / "unstored.jsonl", memory.projects()[0].id
    many = [{"type": "unstored", "id": f"{n:020d}-1-a", "why": "filtered", "project": project} for n in range(300)]
    with log.open("a") as file:
        file.writelines(json.dumps({**one, "reason": "its own tool " * 9}) + "\n" for one in many)
    memory.reindex()
    before, size = memory.status(here).capture, log.stat().st_size
    assert (before.filtered, before.set_aside) == (300, 1)
    old_session(memory, work, "lexer", 1)

    assert log.stat().st_size < size / 2
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["type"] == "unstored-sum"
    assert [one["why"] for one in lines[1:] if one["why"] != "filtered"] == ["set_aside"]
    for _ in range(2):
        now = memory.status(here).capture
        assert (now.filtered, now.set_aside) == (300, 1)
        memory.reindex()
    with memory.res.index.read() as db:
        assert rows.unstored_counts(db, [project]) == {"filtered": 300}
