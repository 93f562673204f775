"""Lint: what each rule finds and leaves alone, what is mended, the report, and what commands say of it."""

from __future__ import annotations

import json
import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ai_memory_mcp import alike
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.lint import REPORT
from ai_memory_mcp.lint_rules import RULES
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.markdown import stamp
from ai_memory_mcp.model import Draft, Finding, LintReport, Page, Query, Scope
from ai_memory_mcp.tombstones import path_mark

SECRET = "ghp_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5"[:36]
LONG = " ".join(f"word{number} matters" for number in range(60))


def write(memory: LocalMemory, here: Scope, title: str, body: str = "Something true.", **more: object) -> Page:
    return memory.write(here, Draft.model_validate({"title": title, "body": body, "agent": "user", **more}))


def found(memory: LocalMemory, here: Scope, rule: str) -> list[Finding]:
    return list(memory.lint(here, rules=(rule,)).findings)


def at(memory: LocalMemory, page: Page) -> Path:
    workspace = memory.projects()[0].workspace_id
    return memory.res.wiki_at(workspace, page.project).folder / page.path


def edit(memory: LocalMemory, page: Page, old: str, new: str) -> None:
    file = at(memory, page)
    file.write_text(file.read_text().replace(old, new, 1))


def age(memory: LocalMemory, page: Page, days: int) -> None:
    """Make a page as old as if nobody had touched it for so long."""
    when = datetime.now(timezone.utc) - timedelta(days=days)
    file = at(memory, page)
    file.write_text(re.sub("^updated: .*$", f"updated: {stamp(when)}", file.read_text(), flags=re.M))


def test_every_rule_has_a_name_of_its_own_and_says_what_it_finds() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.about and rule.find.__doc__ for rule in RULES)


def test_pages_in_order_give_no_finding(memory: LocalMemory, here: Scope) -> None:
    write(memory, here, "Okapis eat leaves", "Leaves, see [[Zoo]].", kind="concept")
    write(memory, here, "Zoo", "Where [[Okapis eat leaves|okapis]] live. `[[code]]` is no link.")
    write(memory, here, "Feed at noon", "Feed okapis at noon.", kind="rule")

    assert memory.lint(here) == LintReport(project="work", pages=4)


def test_a_link_that_leads_nowhere_is_found(memory: LocalMemory, here: Scope) -> None:
    page = write(memory, here, "Okapis", "See [[Giraffes]].")
    told = memory.lint(here, rules=("broken-link",), fix=True)

    assert [(one.page, one.level, one.fix) for one in told.findings] == [(page.path, "warning", "")]
    assert "Giraffes" in told.findings[0].message
    assert not told.fixed


def test_a_link_to_a_page_that_was_moved_is_mended_where_it_certainly_is_that_page(
    memory: LocalMemory, here: Scope
) -> None:
    moved = write(memory, here, "Feeding okapis", LONG)
    page = write(
        memory,
        here,
        "Okapis",
        "See [[notes/feeding-okapis#noon|there]] and [it](feeding-okapis.md), `[[notes/feeding-okapis]]`.",
    )
    new = at(memory, moved).parent.parent / "decisions" / "okapi-food.md"
    new.parent.mkdir()
    os.rename(at(memory, moved), new)
    told = memory.lint(here, rules=("broken-link",), fix=True)

    assert len(told.fixed) == 2
    assert not told.findings
    body = memory.read(here, page.path).text
    assert (
        "[[decisions/okapi-food#noon|there]] and [it](../decisions/okapi-food.md), `[[notes/feeding-okapis]]`" in body
    )
    assert memory.history(here)[0].message == "Lint: mend 2 broken-link"
    assert not found(memory, here, "broken-link")


def test_a_link_to_what_was_superseded_is_led_on_to_what_holds_now(memory: LocalMemory, here: Scope) -> None:
    old = write(memory, here, "Feed at nine", LONG)
    page = write(memory, here, "Okapis", f"They are fed: [[{old.path}]].")
    middle = write(memory, here, "Feed at ten", "Ten. Not [[Feed at nine]].", supersedes=[old.path])
    last = write(memory, here, "Feed at noon", "Noon.", supersedes=[middle.path])
    assert [one.page for one in found(memory, here, "superseded-link")] == [page.path]
    memory.lint(here, fix=True)

    assert f"[[{last.path}]]" in memory.read(here, page.path).text
    assert not found(memory, here, "superseded-link")


def test_a_secret_in_a_page_edited_by_hand_is_found_and_redacted(memory: LocalMemory, here: Scope) -> None:
    page = write(memory, here, "Okapis", "Eat leaves.")
    edit(memory, page, "leaves.", f"leaves. {SECRET}")
    told = found(memory, here, "secret")
    assert [(one.page, one.level) for one in told] == [(page.path, "error")]
    assert SECRET not in told[0].message
    memory.lint(here, rules=("secret",), fix=True)

    assert SECRET not in at(memory, page).read_text()
    assert not found(memory, here, "secret")


def test_front_matter_that_cannot_be_read_is_found(memory: LocalMemory, here: Scope) -> None:
    page = write(memory, here, "Okapis", "Eat leaves.")
    edit(memory, page, "status:", "tags: [a\nstatus:")

    assert [(one.page, one.level) for one in found(memory, here, "front-matter")] == [(page.path, "error")]


def test_pages_that_declare_a_contradiction_are_found_until_one_is_superseded(memory: LocalMemory, here: Scope) -> None:
    first = write(memory, here, "Feed at nine", "Nine.", kind="decision")
    page = write(memory, here, "Feed at noon", "Noon.", kind="decision")
    edit(memory, page, "status:", "contradicts: [Feed at nine]\nstatus:")
    told = found(memory, here, "contradiction")
    assert [(one.page, one.message) for one in told] == [(page.path, f"says that it contradicts {first.path}")]
    write(memory, here, "Feed at noon", "Noon.", kind="decision", supersedes=[first.path])

    assert not found(memory, here, "contradiction")


def test_what_readers_called_wrong_or_stale_is_found_until_it_is_changed(memory: LocalMemory, here: Scope) -> None:
    wrong, stale = write(memory, here, "Okapis"), write(memory, here, "Zebras", "Stripes.")
    memory.feedback(here, wrong.path, "wrong", note="they are giraffes", agent="codex")
    memory.feedback(here, stale.path, "stale", agent="codex")

    assert "called wrong by codex" in found(memory, here, "wrong")[0].message
    assert "they are giraffes" in found(memory, here, "wrong")[0].message
    assert [one.page for one in found(memory, here, "outdated")] == [stale.path]
    write(memory, here, "Okapis", "Giraffes, in fact.")
    assert not found(memory, here, "wrong")


def test_an_expired_page_is_found_and_taken_out_for_good(memory: LocalMemory, here: Scope, tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir()
    (tmp_path / "vault" / "offer.md").write_text("---\nexpires_at: 2020-01-01\n---\n# Offer\n\nCheap leaves.\n")
    memory.import_markdown(here, tmp_path / "vault")
    write(memory, here, "Later", "Leaves.")
    assert [one.page for one in found(memory, here, "expired")] == ["notes/offer.md"]
    told = memory.lint(here, rules=("expired",), fix=True)
    again = memory.import_markdown(here, tmp_path / "vault")

    assert [one.page for one in told.fixed] == ["notes/offer.md"]
    assert not memory.search(here, Query(text="cheap")).hits
    assert not again.added
    assert "taken out of memory" in again.skipped["offer.md"]
    assert memory.history(here, "notes/offer.md")[0].pages[0].change == "removed"


def test_who_writes_an_evicted_page_again_has_it_back(memory: LocalMemory, here: Scope) -> None:
    page = write(memory, here, "Offer", "Cheap leaves.")
    edit(memory, page, "status:", "expires_at: 2020-01-01\nstatus:")
    memory.lint(here, fix=True)
    mark = path_mark(page.project, page.path)
    assert memory.res.tombstones.has("path", mark, page.project)
    write(memory, here, "Offer", "Cheap leaves again.")

    assert not memory.res.tombstones.has("path", mark, page.project)


@pytest.mark.parametrize("body", ["# Okapis\n\n## Food\n", "<!-- later -->\n", "---\n\n***\n"])
def test_a_page_of_headings_alone_says_nothing(memory: LocalMemory, here: Scope, body: str) -> None:
    page = write(memory, here, "Okapis", body)
    write(memory, here, "Zebras", "# Zebras\n\nHave stripes.")

    assert [one.page for one in found(memory, here, "empty")] == [page.path]


def test_a_page_too_long_to_read_and_a_rule_too_long_to_tell_are_found(memory: LocalMemory, here: Scope) -> None:
    write(memory, here, "Note", LONG * 4)
    rule = write(memory, here, "Rule", LONG * 4, kind="rule")
    long = write(memory, here, "Long", "okapi " * 11_000)

    assert sorted(one.page for one in found(memory, here, "oversize")) == [long.path, rule.path]


def test_pages_with_one_title_or_nearly_the_same_words_are_found_once(memory: LocalMemory, here: Scope) -> None:
    first = write(memory, here, "Feeding okapis", LONG)
    like = write(memory, here, "How to feed", LONG.replace("word7 ", "other "))
    named = write(memory, here, "feeding  Okapis", "Quite another text.", path="notes/again.md")
    write(memory, here, "Zebras", LONG.replace("word", "zebra"))
    told = {one.page: one.message for one in found(memory, here, "duplicate")}

    assert set(told) == {like.path, named.path}
    assert f"as {first.path}" in told[like.path]
    assert f"title of {first.path}" in told[named.path]


def test_texts_that_are_alike_are_found_among_very_many_without_all_pairs() -> None:
    boiler = "what this page is about and where it comes from "
    texts = {f"p{one}": boiler + " ".join(f"w{one * 7 + k * k}" for k in range(80)) for one in range(400)}
    texts |= {f"q{one}": texts[f"p{one}"].replace(" w", " x", 1) for one in range(0, 400, 40)}
    sketches = {name: alike.sketch(text) for name, text in texts.items()}

    assert [(one.name, one.other) for one in alike.pairs(sketches)] == [(f"q{n}", f"p{n}") for n in range(0, 400, 40)]
    same = {f"s{one}": alike.sketch(f"{LONG} {one}") for one in range(300)}
    assert len(alike.pairs(same)) > 270


def test_text_without_spaces_is_compared_too() -> None:
    text = "春はあけぼの。やうやう白くなりゆく山ぎは、すこしあかりて、紫だちたる雲のほそくたなびきたる。"
    sketches = {
        "one": alike.sketch(text),
        "other": alike.sketch(text.replace("紫", "青")),
        "no": alike.sketch("夏は夜。月のころはさらなり。"),
    }

    assert [(one.name, one.other) for one in alike.pairs(sketches)] == [("other", "one")]


def test_what_nobody_has_changed_or_opened_for_long_is_stale(memory: LocalMemory, here: Scope) -> None:
    old, opened, pinned, rule = (
        write(memory, here, "Old", "One."),
        write(memory, here, "Opened", "Two."),
        write(memory, here, "Pinned", "Three.", pinned=True),
        write(memory, here, "Rule", "Four.", kind="rule"),
    )
    write(memory, here, "New", "Five.")
    for page in (old, opened, pinned, rule):
        age(memory, page, 400)
    memory.read(here, opened.path)
    memory.ingest()
    told = found(memory, here, "stale")

    assert [(one.page, one.level) for one in told] == [(old.path, "hint")]
    assert "400 days" in told[0].message


def test_a_page_that_hangs_on_nothing_is_an_orphan(memory: LocalMemory, here: Scope) -> None:
    alone = write(memory, here, "Alone", "Nothing about anything.")
    write(memory, here, "Hub", "See [[Spoke]].")
    write(memory, here, "Spoke", "Nothing about anything else.")

    assert [one.page for one in found(memory, here, "orphan")] == [alone.path]


def test_a_proved_rule_that_the_repository_does_not_tell_is_worth_promoting(
    memory: LocalMemory, here: Scope, work: Path
) -> None:
    proved = write(memory, here, "Tests first", "Write the failing test before the fix.", kind="rule", pinned=True)
    write(memory, here, "Young", "Never push on Fridays at all.", kind="rule")
    assert [one.page for one in found(memory, here, "promote")] == [proved.path]
    (work / "AGENTS.md").write_text("# For agents\n\n- Write the failing test *before* the fix!\n")

    assert not found(memory, here, "promote")
    (work / "AGENTS.md").unlink()
    assert not found(memory, Scope(project="work"), "promote"), "nothing can be said where the repository is not seen"


def test_the_report_is_a_page_that_is_written_once_and_neither_searched_nor_linted(
    memory: LocalMemory, here: Scope
) -> None:
    write(memory, here, "Okapis", "See [[Giraffes]].")
    assert memory.lint(here, report=True).report == REPORT
    assert len(memory.history(here, REPORT)) == 1
    before = len(memory.history(here, limit=100))
    told = memory.lint(here, report=True)

    assert len(memory.history(here, limit=100)) == before
    assert "Giraffes" in memory.read(here, REPORT).text
    assert {one.page for one in told.findings} == {"notes/okapis.md"}
    assert [hit.path for hit in memory.search(here, Query(text="giraffes")).hits] == ["notes/okapis.md"]
    assert memory.read(here, "notes/okapis.md", links=True).backlinks == ()
    write(memory, here, "Giraffes", "Long. See [[Okapis]].")
    memory.lint(here, report=True)
    assert "Nothing." in memory.read(here, REPORT).text


def test_a_rule_that_there_is_not_is_refused(memory: LocalMemory, here: Scope) -> None:
    write(memory, here, "Okapis")
    with pytest.raises(InputError, match="known are secret"):
        memory.lint(here, rules=("okapi",))


def test_the_command_says_by_its_exit_code_whether_there_are_errors(
    memory: LocalMemory, here: Scope, work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = write(memory, here, "Okapis", "See [[Giraffes]].")
    monkeypatch.chdir(work)
    assert main(["lint"]) == 0
    assert "1 warning" in capsys.readouterr().out
    edit(memory, page, "See", f"See {SECRET}")
    assert main(["lint", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert [(one["rule"], one["level"], one["page"]) for one in told["findings"]] == [
        ("secret", "error", page.path),
        ("broken-link", "warning", page.path),
        ("orphan", "hint", page.path),
    ]
    assert told["contradictions"] == []
    assert main(["lint", "--fix", "--rule", "secret"]) == 0
    assert "mended" in capsys.readouterr().out
