"""Consolidation: what a language model makes of sessions, and that its failures cost nothing but the better page."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import children
import pytest
from playing import DEAD, LIVE, Player, repository
from provider import SHAPES, Asked, Provider, provider

from ai_memory_mcp import consolidate, markdown
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config
from ai_memory_mcp.errors import ConflictError, LlmError, NotFoundError
from ai_memory_mcp.files import held
from ai_memory_mcp.index import rows
from ai_memory_mcp.llm import Child, Llm
from ai_memory_mcp.llm_queue import Queue
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Consolidation, Draft, Project, Query, Scope
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources

needs_litellm = pytest.mark.skipif(
    find_spec("litellm") is None, reason="litellm is not installed: pip install '.[llm]'"
)
pytestmark = needs_litellm


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        found.answer = scribe
        yield found


def scribe(asked: Asked) -> str:
    """Answer as a decent model would for the sessions played here: a page for each DECIDED and GOTCHA in the record."""
    given = re.findall(r'<memory-data source="given-page">\npath: (\S+)\nkind: (\w+).*\ntitle: (.+)\n', asked.user)
    pages = []
    for kind, title, why in re.findall(
        r"(DECIDED|GOTCHA) (.+?) because (.+?)\.", asked.user.partition('source="page-by-rule"')[0]
    ):
        kind = {"DECIDED": "decision"}.get(kind, kind.lower())
        updates = next((path for path, _, known in given if known == title), "")
        body = f"{title}.\n\nWhy: {why}. It was seen in the session."
        pages.append({"kind": kind, "title": title, "body": body, "tags": ["Testing it"], "updates": updates})
    goal = re.search(r"USER: (.*)", asked.user)
    return answer(headline=f"Better: {goal[1] if goal else '?'}", pages=pages)


def answer(**more: Any) -> str:
    told = {
        "headline": "Mending the parser",
        "outcome": ["The parser is mended.", "All 12 tests pass."],
        "done": ["Corrected the expected value in the parser."],
        "decisions": [],
        "did_not_work": ["`pytest -k parser` failed with AssertionError; expected 3."],
        "open_questions": ["Should the lexer change as well?"],
        "next_steps": ["Write the docs."],
        "pages": [],
        "proposals": [],
    }
    return json.dumps({**told, **more})


@pytest.fixture
def work(own_home: Path) -> Path:
    return repository(own_home / "work", remote="git@example.com:me/work.git")


@pytest.fixture
def memory(own_home: Path, home: Path, stand_in: Provider) -> LocalMemory:
    """A memory with a language model."""
    told = {"provider": "openai-compatible", "model": "m", "base_url": stand_in.base("openai"), "timeout_seconds": 20}
    config = Config.model_validate({"llm": told})
    return LocalMemory(Resources.at(home, user_home=str(own_home), config=config))


@pytest.fixture
def worker(memory: LocalMemory, child: Child, home: Path) -> Llm:
    return Llm(memory.res.config.llm, "", home, child, pauses=())


def scope(cwd: Path) -> Scope:
    return Scope(cwd=str(cwd))


def work_off(memory: LocalMemory, worker: Llm) -> list[Consolidation]:
    """What the worker does, with the litellm of all tests."""
    with consolidate.lock(memory.res, 5):
        return consolidate.work_off(memory.res, worker, Redactor(), now=datetime.now(timezone.utc))


def project_of(memory: LocalMemory, work: Path) -> Project:
    project = memory.resolve(scope(work)).project
    assert project
    return project


def wiki_of(memory: LocalMemory, work: Path) -> Path:
    return memory.res.wiki(project_of(memory, work)).folder


def tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.md"))}


def uncommitted(folder: Path) -> str:
    command = ["git", "-C", str(folder), "status", "--porcelain"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def memory_consolidates(memory: LocalMemory, worker: Llm, work: Path, *, dry: bool = False) -> list[Consolidation]:
    """What the command does with the newest session, with the litellm of all tests."""
    with memory.res.index.read() as db:
        row = rows.sessions(db, project_of(memory, work).id, 1)[0]
    project, now = project_of(memory, work), datetime.now(timezone.utc)
    with consolidate.lock(memory.res, 5):
        return [consolidate.consolidate(memory.res, project, row, worker, Redactor(), now=now, dry=dry)]


def log(folder: Path) -> list[str]:
    command = ["git", "-C", str(folder), "log", "--format=%an: %s"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def played(
    home: Path, work: Path, name: str = "first", said: str = "", *, ago: float = 3000, pid: int = LIVE
) -> Player:
    """A session with a failure, an edit, a test run and an answer; not ended yet."""
    player = Player(home, work, name, ago=ago, pid=pid).start().works()
    return player.says(said) if said else player


GOTCHA = "GOTCHA The cache is stale because nobody clears it."


# --- what comes of it


def test_the_worker_makes_a_better_page_and_handoff_and_pages_of_what_lasts(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    by_rule = tree(wiki_of(memory, work))
    assert stand_in.asked == []
    assert [one.session for one in Queue(home).every()] == [memory.sessions(scope(work))[0].id]

    found = work_off(memory, worker)
    wiki = wiki_of(memory, work)
    after = tree(wiki)
    session = memory.sessions(scope(work))[0]
    gotcha = after["gotchas/the-cache-is-stale.md"]

    assert [(one.state, one.page) for one in found] == [("consolidated", session.page)]
    assert after.keys() - by_rule.keys() == {"gotchas/the-cache-is-stale.md"}
    assert 'title: "Better: Please mend the parser"' in after[session.page]
    assert "Corrected the expected value" in after[session.page]
    assert "- `pytest`: 12 passed" in after[session.page], "what was measured stays"
    assert "[[gotchas/the-cache-is-stale.md]]" in after[session.page]
    assert f"[[{session.page}]] (claude-code" in gotcha
    assert "tags: [testing-it]" in gotcha
    assert "Should the lexer change as well?" in memory.handoffs(scope(work))[0].open_questions
    assert log(wiki)[:2] == [
        "ai-memory-llm: Consolidate the session of claude-code: Better: Please mend the parser",
        "ai-memory: Session of claude-code: Mend the parser",
    ]
    assert memory.search(scope(work), Query(text="stale cache")).hits[0].kind == "gotcha"
    assert memory.read(scope(work), "gotchas/the-cache-is-stale.md", links=True).backlinks == (session.page,)
    assert "The cache is stale" in memory.brief(scope(work)).text
    assert Queue(home).every() == []
    memory.close()
    assert uncommitted(wiki) == ""


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_same_whoever_is_asked(
    home: Path, own_home: Path, work: Path, child: Child, stand_in: Provider, shape: str
) -> None:
    told = {"provider": shape, "model": "made-up-1", "base_url": stand_in.base(shape), "timeout_seconds": 20}
    memory = LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"llm": told})))
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    found = work_off(memory, Llm(memory.res.config.llm, "key", home, child, pauses=()))

    assert [one.state for one in found] == ["consolidated"]
    assert stand_in.asked[0].shape == shape
    assert [page.path for page in found[0].pages if page.change == "new"] == ["gotchas/the-cache-is-stale.md"]


def test_a_session_is_consolidated_once(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    work_off(memory, worker)
    before = tree(wiki_of(memory, work)), log(wiki_of(memory, work))
    Queue(home).add(memory.sessions(scope(work))[0].id, project_of(memory, work).id)

    assert [one.state for one in work_off(memory, worker)] == ["unchanged"]
    assert (tree(wiki_of(memory, work)), log(wiki_of(memory, work))) == before
    assert len(stand_in.asked) == 1


def test_a_session_that_ends_again_without_new_work_keeps_its_better_page(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    player = played(home, work, said=GOTCHA).ends()
    memory.ingest()
    work_off(memory, worker)
    before = tree(wiki_of(memory, work))
    player.start("resume").ends()
    memory.ingest()
    work_off(memory, worker)

    assert tree(wiki_of(memory, work)) == before
    assert len(stand_in.asked) == 1


def test_a_session_that_goes_on_is_consolidated_again_and_makes_no_second_page(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    player = played(home, work, said=GOTCHA).ends()
    memory.ingest()
    work_off(memory, worker)
    player.start("resume").prompt("And the lexer").says("GOTCHA The lexer is slow because it copies.").ends()
    memory.ingest()
    session = memory.sessions(scope(work))[0]
    by_rule = tree(wiki_of(memory, work))[session.page]
    assert "consolidated" not in by_rule, "the page by rule of all of it stands until the model has answered"
    work_off(memory, worker)
    after = tree(wiki_of(memory, work))

    assert [path for path in after if path.startswith("gotchas/")] == [
        "gotchas/the-cache-is-stale.md",
        "gotchas/the-lexer-is-slow.md",
    ]
    assert after["gotchas/the-cache-is-stale.md"].count("[[sessions/") == 1
    assert len(stand_in.asked) == 2
    assert "path: gotchas/the-cache-is-stale.md" in stand_in.asked[1].user


def test_what_another_session_finds_out_again_updates_the_page(
    memory: LocalMemory, worker: Llm, home: Path, work: Path
) -> None:
    for name, ago in (("first", 3000), ("second", 2000)):
        played(home, work, name, GOTCHA, ago=ago).ends()
        memory.ingest()
        work_off(memory, worker)
    after = tree(wiki_of(memory, work))
    pages = [path for path in after if path.startswith("gotchas/")]

    assert pages == ["gotchas/the-cache-is-stale.md"]
    assert after[pages[0]].count("- [[sessions/") == 2
    assert "session: second" in after[pages[0]]


def test_a_page_that_somebody_wrote_is_superseded_and_stays(
    memory: LocalMemory, worker: Llm, home: Path, work: Path
) -> None:
    told = Draft(title="The cache is stale", kind="gotcha", body="Mine: restart the daemon.\n", agent="user")
    mine = memory.write(scope(work), told)
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    work_off(memory, worker)
    after = tree(wiki_of(memory, work))
    old, new = markdown.parse(after[mine.path]), markdown.parse(after["gotchas/the-cache-is-stale-2.md"])

    assert old[1] == "Mine: restart the daemon.\n"
    assert (old[0]["status"], old[0]["superseded_by"]) == ("superseded", "gotchas/the-cache-is-stale-2.md")
    assert new[0]["supersedes"] == [mine.path]
    assert f"[[{mine.path}]]" in new[1]
    assert [hit.path for hit in memory.search(scope(work), Query(text="stale cache", kinds=("gotcha",))).hits] == [
        "gotchas/the-cache-is-stale-2.md",
        mine.path,
    ]


def test_words_that_the_model_has_not_seen_are_not_replaced_by_its_own(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    theirs = Draft(title="Zebra crossing", kind="decision", body="By a person.\n", agent="user")
    mine = memory.write(scope(work), theirs)
    for name, colour, body in (
        ("first", "blue", "One two three four five."),
        ("second", "red", "Six seven eight nine."),
    ):
        pages = [
            {"kind": "decision", "title": "Zebra crossing", "body": body},
            {"kind": "concept", "title": "Quagga herd", "body": body},
        ]
        told = answer(pages=pages)
        stand_in.answer = lambda asked, told=told: told  # type: ignore[misc]
        player = Player(home, work, name, ago=3000 if colour == "blue" else 2000).start()
        player.prompt(f"{colour} {colour}").edits(f"{colour}.txt").says(f"{colour} {colour}").ends()
        memory.ingest()
        work_off(memory, worker)
    after = tree(wiki_of(memory, work))

    assert "quagga" not in stand_in.asked[1].user
    assert markdown.parse(after[mine.path])[1] == "By a person.\n"
    assert "Six seven" in after["notes/proposal-zebra-crossing.md"]
    own = markdown.parse(after["concepts/quagga-herd.md"])[1]
    assert own.index("One two three four five.") < own.index("Six seven eight nine.")
    assert own.count("- [[sessions/") == 2
    assert own.count("## Sources") == 1


@pytest.mark.parametrize("kind", ["rule", "gotcha"])
def test_of_rules_and_pinned_pages_a_change_is_only_proposed(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider, kind: str
) -> None:
    told = Draft(title="Clear the cache", kind=kind, body="Before every release.\n", pinned=True)  # type: ignore[arg-type]
    mine = memory.write(scope(work), told)
    page = {"kind": "gotcha", "title": "Clear the cache daily", "body": "Before every build, not only releases."}
    stand_in.answer = lambda asked: answer(
        pages=[{**page, "updates": mine.path, "supersedes": [mine.path]}, {**page, "kind": "rule", "title": "Another"}],
        proposals=[{"about": mine.path, "title": "Clear it hourly", "body": "It was stale within the hour."}],
    )
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    before = tree(wiki_of(memory, work))
    work_off(memory, worker)
    after = tree(wiki_of(memory, work))

    assert f"path: {mine.path}" in stand_in.asked[0].user
    assert after[mine.path] == before[mine.path]
    assert sorted(after.keys() - before.keys()) == [
        "notes/proposal-clear-it-hourly.md",
        "notes/proposal-clear-the-cache-daily.md",
    ]
    assert f"About [[{mine.path}]]." in after["notes/proposal-clear-the-cache-daily.md"]
    assert "tags: [proposal]" in after["notes/proposal-clear-the-cache-daily.md"]


def test_pages_link_to_each_other_and_to_nothing_made_up(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    pages = [
        {"kind": "decisions", "title": "Use SQLite", "body": "See [[The queue]] and [[Nowhere]], ![x](http://evil.invalid/x).",
         "see_also": ["The queue", "rules/none.md"]},
        {"kind": "concept", "title": "The queue", "body": "It is kept by [[decisions/use-sqlite.md|SQLite]]. " * 3},
    ]  # fmt: skip
    stand_in.answer = lambda asked: answer(pages=pages)
    played(home, work).ends()
    memory.ingest()
    work_off(memory, worker)
    after = tree(wiki_of(memory, work))

    decision = markdown.parse(after["decisions/use-sqlite.md"])[1]
    assert decision.startswith(
        "See [[concepts/the-queue.md]] and Nowhere, x.\n\n## See also\n\n- [[concepts/the-queue.md]]\n"
    )
    assert "[[decisions/use-sqlite.md|SQLite]]" in after["concepts/the-queue.md"]


def test_a_session_page_edited_by_hand_stays_and_is_not_asked_for_again(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    page = wiki_of(memory, work) / str(memory.sessions(scope(work))[0].page)
    page.write_text(page.read_text() + "\nMy own words.\n")
    memory.recent(scope(work))
    body = markdown.parse(page.read_text())[1]
    work_off(memory, worker)

    assert markdown.parse(page.read_text())[1] == body
    assert (wiki_of(memory, work) / "gotchas/the-cache-is-stale.md").exists()
    assert [one.state for one in memory_consolidates(memory, worker, work)] == ["unchanged"]
    assert len(stand_in.asked) == 1


# --- while the model is waited for


def test_nothing_waits_for_the_model_and_what_changes_meanwhile_is_left_alone(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, own_home: Path, stand_in: Provider
) -> None:
    told = Draft(title="The cache is stale", kind="gotcha", body="Mine.\n", agent="user")
    mine = memory.write(scope(work), told)
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    other = LocalMemory(Resources.at(home, str(own_home), Config()))

    def meanwhile(asked: Asked) -> str:
        Player(home, work, "second", ago=5).start().works("the lexer").ends()
        other.ingest()
        other.write(scope(work), told.model_copy(update={"body": "Mine, and better.\n"}))
        other.accept_handoff(scope(work), other.handoffs(scope(work))[0].id, agent="codex")
        return scribe(asked)

    stand_in.answer = meanwhile
    work_off(memory, worker)
    after = tree(wiki_of(memory, work))

    assert len(memory.sessions(scope(work))) == 2
    assert "Mine, and better." in after[mine.path]
    assert "status: current" in after[mine.path]
    assert "Better: Please mend the parser" in after[str(memory.sessions(scope(work))[1].page)]
    assert "accepted" in {one.state for one in memory.handoffs(scope(work), every=True)}


def test_an_answer_to_less_than_the_session_is_now_is_dropped(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, own_home: Path, stand_in: Provider
) -> None:
    player = played(home, work, said=GOTCHA).ends()
    memory.ingest()
    other = LocalMemory(Resources.at(home, str(own_home), memory.res.config))

    def meanwhile(asked: Asked) -> str:
        player.start("resume").prompt("And the lexer").edits("src/lexer.py").ends()
        other.ingest()
        stand_in.answer = scribe
        return scribe(asked)

    stand_in.answer = meanwhile
    assert work_off(memory, worker) == []
    page = str(memory.sessions(scope(work))[0].page)
    assert "src/lexer.py" in tree(wiki_of(memory, work))[page]
    assert "consolidated" not in tree(wiki_of(memory, work))[page]

    work_off(memory, worker)
    assert "Better" not in log(wiki_of(memory, work))[1]
    assert [one.given_up for one in Queue(home).every()] in ([], [False])


# --- in whose language

SPOKEN = {
    "German": (
        "Bitte repariere den Parser, der Test mit der Zahl 3 ist kaputt und das muss vor dem Release weg.",
        "Ich habe den Parser repariert, die Zahl war nicht richtig. Nun kommt noch die neue Option --strict-mode.",
        {
            "headline": "Parser repariert",
            "outcome": ["Der Parser ist repariert, und alle Tests von `pytest` laufen wieder durch."],
            "done": ["Die erwartete Zahl in parse_number wurde korrigiert."],
            "open_questions": ["Soll der Lexer auch geändert werden?"],
        },
        "Der Cache ist veraltet, weil ihn niemand leert; mit `make clean` wird er für alle geleert.",
    ),
    "Japanese": (
        "パーサーを直してください。数字の 3 を期待するテストが壊れているので、リリース前に解決したいです。",
        "パーサーを直しました。期待値が間違っていました。次は --strict-mode オプションのドキュメントを書きます。",
        {
            "headline": "パーサーの修正",
            "outcome": ["パーサーを修正し、pytest のテストがすべて通るようになった。"],
            "done": ["parse_number の期待値を修正した。"],
            "open_questions": ["lexer も変更するべきですか?"],
        },
        "キャッシュが古いのは誰も消していないため。`make clean` を実行すると全員の cache が消える。",
    ),
}
ENGLISH = "The cache is stale because nobody clears it, and this is what each of the builds then takes from there."


def speaks(home: Path, work: Path, language: str) -> None:
    prompt, says, _, _ = SPOKEN[language]
    player = Player(home, work, "first", ago=3000).start().prompt(prompt)
    player.fails("pytest -k parser", "Exit code 1\nAssertionError: the number was not what it should have been")
    player.edits("src/parser.py").runs("pytest", "12 passed in 0.1s").says(says).ends()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("language", SPOKEN)
def test_what_was_said_in_a_language_is_told_in_it(
    home: Path, own_home: Path, work: Path, child: Child, stand_in: Provider, shape: str, language: str
) -> None:
    told = {"provider": shape, "model": "made-up-1", "base_url": stand_in.base(shape), "timeout_seconds": 20}
    memory = LocalMemory(Resources.at(home, str(own_home), Config.model_validate({"llm": told})))
    _, _, words, body = SPOKEN[language]
    own = {"kind": "gotcha", "title": "Cache", "body": body}
    stand_in.answer = lambda asked: answer(
        **{**words, "did_not_work": [], "next_steps": []},
        pages=[own, {"kind": "gotcha", "title": "Stale cache", "body": ENGLISH}],
        proposals=[{"about": "", "title": "Clear it", "body": ENGLISH}],
    )
    speaks(home, work, language)
    memory.ingest()
    found = work_off(memory, Llm(memory.res.config.llm, "key", home, child, pauses=()))
    after = tree(wiki_of(memory, work))

    assert (
        f"In the language in which the user wrote, which is {language}."
        in stand_in.asked[0].system + stand_in.asked[0].user
    )
    assert [one.state for one in found] == ["consolidated"]
    assert words["outcome"][0] in after[found[0].page]
    assert body in after["gotchas/cache.md"], "with English words in it"
    assert not [path for path, text in after.items() if ENGLISH in text], "nobody spoke English"


@pytest.mark.parametrize("language", SPOKEN)
def test_an_answer_in_another_language_is_refused_and_the_page_by_rule_stays(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider, language: str
) -> None:
    stand_in.answer = lambda asked: answer(
        decisions=["The lexer was left as it is, because it would have been too much."]
    )
    speaks(home, work, language)
    memory.ingest()
    before = tree(wiki_of(memory, work)), log(wiki_of(memory, work))

    assert work_off(memory, worker) == []
    assert (tree(wiki_of(memory, work)), log(wiki_of(memory, work))) == before
    assert Queue(home).every()[0].error == "the language model wrote in English, and nobody did in this session"
    with pytest.raises(LlmError, match="wrote in English"):
        memory_consolidates(memory, worker, work)


def test_a_page_that_was_in_another_language_may_stay_in_it(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    mine = memory.write(scope(work), Draft(title="Parser cache", kind="gotcha", body=f"{ENGLISH}\n"))
    page = {"kind": "gotcha", "title": "Parser cache", "body": f"{ENGLISH} So clear it.", "updates": mine.path}
    stand_in.answer = lambda asked: answer(
        **{**SPOKEN["German"][2], "did_not_work": [], "next_steps": []}, pages=[page]
    )
    speaks(home, work, "German")
    memory.ingest()
    work_off(memory, worker)

    assert mine.path in stand_in.asked[0].user
    assert [text for text in tree(wiki_of(memory, work)).values() if "So clear it." in text]


# --- when it fails


@pytest.mark.parametrize(
    "mode", ["error", "down", "garbage", "shape", "silent", "truncated", "refusing", "limited", "key"]
)
def test_a_failure_costs_nothing_but_the_better_page_and_a_later_worker_tries_again(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider, mode: str
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    before = tree(wiki_of(memory, work)), log(wiki_of(memory, work))
    stand_in.modes = [mode]

    assert work_off(memory, worker) == []
    assert (tree(wiki_of(memory, work)), log(wiki_of(memory, work))) == before
    assert memory.handoffs(scope(work))
    waiting = Queue(home).every()[0]
    assert waiting.error
    assert work_off(memory, worker) == [], "not at once"

    stand_in.modes = ["ok"]
    later = datetime.fromtimestamp(waiting.not_before, timezone.utc)
    (home / "llm" / "meter.json").unlink()  # the pause is over by then
    with consolidate.lock(memory.res, 5):
        found = consolidate.work_off(memory.res, worker, Redactor(), now=later)
    assert [one.state for one in found] == ["consolidated"]


def test_when_the_days_tokens_are_spent_nobody_is_asked(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    for name, ago in (("first", 3000), ("second", 2000)):
        played(home, work, name, ago=ago).ends()
    memory.ingest()
    worker.config = worker.config.model_copy(update={"daily_tokens": 100})

    assert work_off(memory, worker) == []
    assert [one.tries for one in Queue(home).every()] == [0, 0]
    assert all("of 100 tokens" in one.error for one in Queue(home).every())
    assert stand_in.asked == []


def test_a_wiki_that_refuses_is_tried_again_without_asking_again(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    git = wiki_of(memory, work) / ".git"
    (git / "MERGE_HEAD").write_bytes((git / "refs/heads/main").read_bytes())
    assert work_off(memory, worker) == []
    assert "merge" in Queue(home).every()[0].error

    (git / "MERGE_HEAD").unlink()
    assert [one.state for one in memory_consolidates(memory, worker, work)] == ["consolidated"]
    assert len(stand_in.asked) == 1
    assert not list((home / "llm" / "plans").iterdir())


# --- when it happens


def test_before_a_compaction_the_open_session_gets_a_page_and_no_handoff(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    player = played(home, work, said=GOTCHA).send("PreCompact", trigger="auto")
    memory.ingest()
    assert memory.sessions(scope(work))[0].state == "open"
    found = work_off(memory, worker)
    wiki = wiki_of(memory, work)

    assert [one.state for one in found] == ["consolidated"]
    assert memory.handoffs(scope(work), every=True) == ()
    assert log(wiki)[0].startswith("ai-memory-llm: Consolidate")
    assert memory.sessions(scope(work))[0].state == "open"

    player.prompt("And the docs").edits("docs/a.md").says("Wrote them.").ends()
    memory.ingest()
    work_off(memory, worker)
    pages = [path for path in tree(wiki) if path.startswith("sessions/")]
    assert pages == [memory.sessions(scope(work))[0].page], "one page, at one place"
    assert "docs/a.md" in tree(wiki)[pages[0]]
    assert len(memory.handoffs(scope(work))) == 1
    assert len(stand_in.asked) == 2


def test_without_a_provider_nothing_waits_and_nothing_is_written_for_it(home: Path, own_home: Path, work: Path) -> None:
    plain = LocalMemory(Resources.at(home, str(own_home), Config()))
    played(home, work).send("PreCompact", trigger="auto").ends()
    plain.ingest()

    assert not (home / "llm").exists()
    assert not plain.worker_is_due()
    assert plain.consolidate_waiting() == ()


def test_asked_for_only_nothing_waits_by_itself(
    memory: LocalMemory, worker: Llm, home: Path, own_home: Path, work: Path
) -> None:
    config = Config(llm=memory.res.config.llm.model_copy(update={"automatic": False}))
    on_request = LocalMemory(Resources.at(home, str(own_home), config))
    played(home, work).send("PreCompact", trigger="auto").ends()
    on_request.ingest()
    assert Queue(home).every() == []

    told = on_request.consolidate(scope(work), wait=False)
    assert [one.state for one in told] == ["queued"]
    assert on_request.worker_is_due()
    assert [one.state for one in work_off(on_request, worker)] == ["consolidated"]


def test_a_dry_run_writes_nothing_and_the_next_run_asks_nobody(
    memory: LocalMemory, worker: Llm, home: Path, work: Path, stand_in: Provider
) -> None:
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    before = tree(wiki_of(memory, work)), log(wiki_of(memory, work))
    planned = memory_consolidates(memory, worker, work, dry=True)[0]
    assert (tree(wiki_of(memory, work)), log(wiki_of(memory, work))) == before

    assert planned.state == "planned"
    memory_consolidates(memory, worker, work)
    after = tree(wiki_of(memory, work))
    assert {page.path: page.text for page in planned.pages}.items() <= after.items()
    assert len(stand_in.asked) == 1


def test_without_a_model_the_command_compiles_by_rule_and_twice_is_as_once(
    home: Path, own_home: Path, work: Path
) -> None:
    plain = LocalMemory(Resources.at(home, str(own_home), Config()))
    played(home, work)
    told = plain.consolidate(scope(work))
    before = tree(wiki_of(plain, work)), log(wiki_of(plain, work))

    assert [(one.state, bool(one.page)) for one in told] == [("by-rule", True)]
    assert plain.consolidate(scope(work), told[0].session) == told
    assert (tree(wiki_of(plain, work)), log(wiki_of(plain, work))) == before
    assert plain.handoffs(scope(work), every=True) == ()


def test_the_command_says_what_it_did_and_why_it_could_not(
    memory: LocalMemory,
    worker: Llm,
    home: Path,
    work: Path,
    stand_in: Provider,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    played(home, work, said=GOTCHA).ends()
    monkeypatch.chdir(work)
    assert main(["consolidate"]) == 0
    assert "compiled by rule" in capsys.readouterr().out

    for name, value in {"PROVIDER": "openai-compatible", "MODEL": "m", "BASE_URL": stand_in.base("openai")}.items():
        monkeypatch.setenv(f"AI_MEMORY_LLM_{name}", value)
    planned = memory_consolidates(memory, worker, work, dry=True)  # so that the commands need no litellm of their own
    assert main(["consolidate", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "would be consolidated" in told
    assert planned[0].pages[1].text in told + "\n"
    assert main(["consolidate", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sessions"][0]["state"] == "consolidated"
    assert main(["consolidate", planned[0].session[:8]]) == 0
    assert "is consolidated already" in capsys.readouterr().out
    assert main(["consolidate", "--all"]) == 0
    assert len(stand_in.asked) == 1

    assert main(["consolidate", "no-such-session"]) == 1
    assert "there is no session 'no-such-session' here" in capsys.readouterr().err
    assert main(["consolidate", "x", "--all"]) == 1
    with consolidate.lock(memory.res, 1):
        assert main(["consolidate"]) == 1
    assert "consolidate.lock" in capsys.readouterr().err


def test_a_model_that_cannot_be_asked_is_said_and_the_page_by_rule_is_there(
    home: Path, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    played(home, work)
    monkeypatch.chdir(work)
    monkeypatch.setenv("AI_MEMORY_LLM_PROVIDER", "openai")
    assert main(["consolidate"]) == 1
    assert "no model is set; say which one of openai's" in capsys.readouterr().err
    assert main(["consolidate", "--all", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["sessions"][0]["state"] == "failed"
    monkeypatch.delenv("AI_MEMORY_LLM_PROVIDER")
    assert main(["recent", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"][0]["kind"] == "session"


@pytest.mark.slow
def test_a_server_that_runs_starts_the_worker_for_what_waits(
    memory: LocalMemory, home: Path, own_home: Path, work: Path, stand_in: Provider
) -> None:
    """Here a session whose agent told no end; the server itself never loads what asks the model."""
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    memory.close()
    env = {"PATH": os.environ["PATH"], "HOME": str(own_home), "AI_MEMORY_HOME": str(home)}
    told = {"PROVIDER": "openai-compatible", "MODEL": "m", "BASE_URL": stand_in.base("openai")}
    env |= {f"AI_MEMORY_LLM_{name}": value for name, value in told.items()}
    command = [sys.executable, "-m", "ai_memory_mcp", "serve"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, env=env, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        deadline = time.monotonic() + 90
        while Queue(home).every() or held(home / "locks" / "consolidate.lock"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        maps = Path(f"/proc/{server.pid}/maps").read_text() if sys.platform == "linux" else ""
        assert server.stdin
        server.stdin.close()
        assert server.wait(10) == 0

    assert len(stand_in.asked) == 1
    assert "tiktoken" not in maps
    assert log(wiki_of(memory, work))[0].startswith("ai-memory-llm")


def test_what_the_model_made_of_a_session_can_be_taken_back(
    memory: LocalMemory, worker: Llm, home: Path, work: Path
) -> None:
    told = Draft(title="The cache is stale", kind="gotcha", body="Mine: the cache, the parser.\n", agent="user")
    memory.write(scope(work), told)
    played(home, work, said=GOTCHA).ends()
    memory.ingest()
    before = tree(wiki_of(memory, work))
    work_off(memory, worker)
    session = memory.sessions(scope(work))[0]
    done = memory.revert(scope(work), session.id[:8])

    assert tree(wiki_of(memory, work)) == before
    assert log(wiki_of(memory, work))[0].startswith("user: Revert: Consolidate the session of claude-code")
    assert "gotchas/the-cache-is-stale-2.md" in done.pages
    assert memory.handoffs(scope(work))[0].open_questions == ()
    assert Queue(home).every() == []
    with pytest.raises(ConflictError, match="every page of commit"):
        memory.revert(scope(work), done.commit)


def test_what_was_changed_since_stays_when_a_commit_is_taken_back(memory: LocalMemory, work: Path) -> None:
    page = memory.write(scope(work), Draft(title="One", body="First.\n"))
    first = memory.history(scope(work), page.path)[0].commit
    memory.write(scope(work), Draft(title="One", body="Second.\n"))
    with pytest.raises(ConflictError):
        memory.revert(scope(work), first)

    second = memory.history(scope(work), page.path)[0].commit
    assert memory.revert(scope(work), second[:12]).pages == (page.path,)
    assert memory.read(scope(work), page.path).text.endswith("First.\n")
    with pytest.raises(NotFoundError, match="no commit and no consolidated session"):
        memory.revert(scope(work), "ffffffff")


# --- all at once, and killed


@pytest.mark.slow
def test_from_the_hook_to_the_page_twice_at_once(home: Path, own_home: Path, work: Path, stand_in: Provider) -> None:
    """Two hooks start two workers for the same session: the model is asked once, and there is one commit."""
    played(home, work, said=GOTCHA)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(own_home),
        "AI_MEMORY_HOME": str(home),
        "AI_MEMORY_LLM_PROVIDER": "openai-compatible",
        "AI_MEMORY_LLM_MODEL": "m",
        "AI_MEMORY_LLM_BASE_URL": stand_in.base("openai"),
    }
    payload = json.dumps({"session_id": "first", "cwd": str(work), "reason": "other"}).encode()
    command = [sys.executable, "-m", "ai_memory_mcp", "emit", "claude-code", "SessionEnd"]
    hooks = [subprocess.Popen(command, env=env, stdin=subprocess.PIPE, cwd=Path(__file__).parent.parent) for _ in "12"]
    for hook in hooks:
        hook.communicate(payload, timeout=30)
    deadline = time.monotonic() + 90
    folders = home / "wiki"
    while not list(folders.glob("*/*/gotchas/*.md")) or held(home / "locks" / "consolidate.lock"):
        assert time.monotonic() < deadline, [path.read_text() for path in (home / "logs").glob("*")]
        time.sleep(0.1)
    wiki = next(folders.glob("*/*"))

    assert [line for line in log(wiki) if line.startswith("ai-memory-llm")] == [
        "ai-memory-llm: Consolidate the session of claude-code: Better: Please mend the parser"
    ]
    assert len(stand_in.asked) == 1
    assert not list((home / "llm" / "plans").iterdir())
    assert Queue(home).every() == []


POINTS = 12


@pytest.mark.slow
def test_killed_at_any_line_the_next_run_comes_to_the_same_pages(tmp_path: Path) -> None:
    base = tmp_path / "user"
    home, work = base / "memory", repository(base / "work", remote="git@example.com:me/work.git")
    played(home, work, said="We use SQLite for it.", pid=DEAD).ends()
    plain = children.opened(str(home))
    plain.write(scope(work), Draft(title="Use SQLite", kind="decision", body="By a person.\n", agent="user"))
    plain.ingest()
    plain.close()
    shutil.copytree(base, tmp_path / "kept")

    def killed_at(line: int) -> dict[str, str]:
        shutil.rmtree(base)
        shutil.copytree(tmp_path / "kept", base)
        process = children.child(children.consolidate_killed, str(home), str(work), line, str(tmp_path / "counted"))
        process.join(60)
        assert process.exitcode == (-9 if line else 0)
        again = children.child(children.consolidate_killed, str(home), str(work), 0, str(tmp_path / "again"))
        again.join(60)
        assert again.exitcode == 0
        problems = subprocess.run(
            ["git", "-C", wiki_of(plain, work), "fsck", "--strict"], capture_output=True, text=True, check=False
        )
        assert problems.returncode == 0, problems.stdout + problems.stderr
        plain.recent(scope(work))
        plain.close()
        assert uncommitted(wiki_of(plain, work)) == ""
        return tree(wiki_of(plain, work))

    undisturbed = killed_at(0)
    lines = int((tmp_path / "counted").read_text())
    assert sorted(path for path in undisturbed if not path.startswith(("sessions/", "handoffs/", "project"))) == [
        "concepts/the-queue.md",
        "decisions/use-sqlite-2.md",
        "decisions/use-sqlite.md",
        "notes/proposal-clear-it-hourly.md",
    ]
    assert lines > 500
    for point in range(1, POINTS + 1):
        assert killed_at(lines * point // (POINTS + 1)) == undisturbed, (
            f"killed at line {lines * point // (POINTS + 1)}"
        )
