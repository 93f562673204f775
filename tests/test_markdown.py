"""Front matter, links, slugs and paths: lenient reading, edits that touch nothing else."""

from __future__ import annotations

import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import PureWindowsPath

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.markdown import (
    links,
    page_from,
    parse,
    problem,
    relink,
    safe_path,
    set_keys,
    slug,
    tame_path,
    text_from,
)
from ai_memory_mcp.model import Page

NOW = datetime(2026, 11, 22, 17, 0, tzinfo=timezone.utc)
OLD = NOW - timedelta(days=400)


def read(text: str, path: str = "notes/a.md") -> Page:
    return page_from(path, text, project="p", created=OLD, updated=NOW)


def test_front_matter_and_body_are_split() -> None:
    meta, body = parse("---\ntitle: A\ntags: [x, y]\nsource: {agent: codex}\n---\n# A\n---\nrest")
    assert meta == {"title": "A", "tags": ["x", "y"], "source": {"agent": "codex"}}
    assert body == "# A\n---\nrest"


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("", ""),
        ("# only a body\n", "# only a body\n"),
        ("---\n---\nbody", "body"),
        ("---\r\ntitle: A\r\n---\r\nbody\r\n", "body\r\n"),
        ("\ufeff---\ntitle: A\n---\nbody", "body"),
        ("---\ntitle: A\n---", ""),
        ("---\ntitle: never closed\n", "---\ntitle: never closed\n"),
        ("---\nTwo thematic breaks\n---\nbody", "---\nTwo thematic breaks\n---\nbody"),
        ("text\n---\na: b\n---\n", "text\n---\na: b\n---\n"),
    ],
)
def test_the_body_is_found_in_every_shape_of_file(text: str, body: str) -> None:
    assert parse(text)[1] == body


@pytest.mark.parametrize(
    "block", ["title: a: b", "a: [", "\ta: b", "a: *nothing", "a: \x07", "? [a]: b", "a: " + "[" * 5000]
)
def test_broken_front_matter_is_reported_and_the_body_still_read(block: str) -> None:
    text = f"---\n{block}\n---\nbody"
    assert parse(text) == ({}, "body")
    assert "not valid YAML" in problem(text)
    assert parse(set_keys(text, {"title": "T"})) == ({"title": "T"}, text)


def test_sound_front_matter_has_no_problem() -> None:
    assert problem("---\ncreated: 2026-99-99\npinned: yes\n---\n") == ""
    assert problem("body") == ""


def test_yaml_tags_are_never_executed() -> None:
    meta, _ = parse("---\na: !!python/object/apply:os.system [exit 1]\nb: !!timestamp 2026-99-99\n---\n")
    assert meta == {"a": ["exit 1"], "b": "2026-99-99"}


def test_huge_and_hostile_files_are_read_quickly() -> None:
    started = time.process_time()
    for text in (
        "---\n" + "a: b\n" * 400_000,
        "---\na: b\n---\n" + "[[" * 500_000,
        "`" * 10**6,
        "](" * 500_000,
    ):
        read(text)
        links(text)
        set_keys(text, {"title": "T"})
    links("".join("`" * (n % 1400) + " " for n in range(1400)))
    assert time.process_time() - started < 5


def test_setting_a_key_leaves_every_other_byte_alone() -> None:
    text = (
        "---\n# mine\ntitle:   'Old'   # why\nmood: !odd {a: 1}\n\ntags:\n- a\n- b\n\n# end\n"
        "long: >\n  folded\n"
        "  text\nlast: x\n---\n\nbody ---\n"
    )
    assert set_keys(text, {"title": "New: one", "tags": ["c"], "long": None, "added": True}) == (
        '---\n# mine\ntitle: "New: one"   # why\nmood: !odd {a: 1}\n\ntags: [c]\n\n'
        "# end\nlast: x\nadded: true\n---\n"
        "\nbody ---\n"
    )
    assert set_keys(text, {}) == text


def test_line_ends_stay_as_they_are() -> None:
    text = "\ufeff---\r\na: 1\r\nb:\r\n  - x\r\nc: 3\r\n---\r\nbody\r\n"
    assert set_keys(text, {"b": "é", "d": 4}) == "\ufeff---\r\na: 1\r\nb: é\r\nc: 3\r\nd: 4\r\n---\r\nbody\r\n"
    assert set_keys(text, {"b": None}) == "\ufeff---\r\na: 1\r\nc: 3\r\n---\r\nbody\r\n"


def test_a_text_without_front_matter_gets_one() -> None:
    assert set_keys("body", {"title": "T"}) == "---\ntitle: T\n---\nbody"
    assert set_keys("body", {"title": None}) == "body"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3))
keys = st.sampled_from(["title", "tags", "kind", "über", "a b", "yes", "x"])


@given(st.dictionaries(keys, values, max_size=4), st.dictionaries(keys, st.none() | values), words)
@example({"tags": ["", "null"]}, {"title": "\x85\u2028\ufeff\x7f"}, "---\n")
@settings(max_examples=150, deadline=None)
def test_what_is_set_is_what_is_read(before: dict[str, object], changes: dict[str, object], body: str) -> None:
    text = set_keys("---\n---\n" + body, before)
    changed = set_keys(text, changes)
    expected = {key: value for key, value in {**before, **changes}.items() if value is not None}
    assert parse(changed) == (expected, body)
    assert set_keys(changed, {}) == changed


lines = st.sampled_from(
    [
        "a: 1",
        "b:",
        "  - x",
        "- y",
        "# c",
        "",
        "t: 'q' # c",
        "l: |",
        "  text",
        "é: [1,",
        " 2]",
        '🎉: "x\ty"',
        "z: >-",
        "  ",
    ]
)


@given(
    st.lists(lines, max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["a", "b", "t", "l", "é", "n"]),
)
@example(["b:", "# c", "  - x"], "\n", "b")
@example(["l: |", " 2]", "a: 1", "  "], "\n", "a")
@example(["b:", "  - x", "# c", "  - x", "a: 1"], "\r\n", "b")
@settings(max_examples=300, deadline=None)
def test_an_edit_changes_only_its_own_key(block: list[str], end: str, key: str) -> None:
    text = end.join(["---", *block, "---", "body"])
    meta, _ = parse(text)
    for value in ("new", None):
        changed = set_keys(text, {key: value})
        after = parse(changed)[0]
        assert after.get(key) == value
        if not problem(text) and parse(text)[1] == "body":
            assert {k: v for k, v in after.items() if k != key} == {k: v for k, v in meta.items() if k != key}
            assert [c for c in changed.splitlines() if c.startswith("#")] == [c for c in block if c == "# c"]


@given(words)
@settings(max_examples=200, deadline=None)
def test_any_text_can_be_read_and_edited(text: str) -> None:
    for whole in (text, f"---\n{text}\n---\n{text}"):
        page = read(whole)
        assert page.title
        assert page.id
        assert parse(set_keys(whole, {"title": "T"}))[0]["title"] == "T"


def test_a_page_says_what_its_front_matter_says() -> None:
    page = read(
        "---\nid: x1\ntitle: T\nkind: decision\ntags: [a, '#b']\npinned: true\n"
        "created: 2026-01-02T03:04:05+02:00\n"
        "updated: 2026-01-03\nsource: {agent: codex, session: s1}\nstatus: superseded\nsupersedes: [o]\n"
        "superseded_by: n\nentities: a, b\nexpires_at: 2027-01-01\nsummary: S\n---\nbody"
    )
    assert page == Page(
        id="x1", path="notes/a.md", title="T", kind="decision", project="p", body="body",
        tags=("a", "b"), pinned=True,
        created=datetime(2026, 1, 2, 1, 4, 5, tzinfo=timezone.utc),
        updated=datetime(2026, 1, 3, tzinfo=timezone.utc),
        agent="codex", session="s1", status="superseded", supersedes=("o",), superseded_by="n",
        entities=("a", "b"),
        expires_at=datetime(2027, 1, 1, tzinfo=timezone.utc), summary="S",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "title", "kind"),
    [
        ("decisions/use-git.md", "```\n# no\n```\n# Use  *git* #\n", "Use *git*", "decision"),
        ("gotchas/lock-order.md", "text", "lock order", "gotcha"),
        ("somewhere/x.md", "---\nkind: nonsense\ntitle: null\n---\n", "x", "note"),
        ("project.md", "", "project", "project"),
        ("_lint/report.md", "", "report", "lint"),
        ("notes/2026.md", "---\ntitle: 2026\nkind: rule\ncreated: 2026-13-45\n---\n", "2026", "rule"),
    ],
)
def test_a_page_written_by_hand_is_understood(path: str, text: str, title: str, kind: str) -> None:
    page = read(text, path)
    assert (page.title, page.kind, page.created, page.updated) == (title, kind, OLD, NOW)
    assert page.id == read("other text", path).id != read(text, "other.md").id


pages = st.builds(
    Page,
    id=st.uuids().map(str), path=st.just("notes/a.md"), title=words.map(lambda s: "T" + s),
    kind=st.sampled_from(["note", "rule", "session"]), project=st.just("p"), body=words,
    tags=st.lists(words.filter(lambda s: s and not s.startswith("#"))).map(tuple), pinned=st.booleans(),
    created=st.just(OLD), updated=st.just(NOW), agent=words, session=st.just("s1"),
    status=st.sampled_from(["current", "superseded"]),
    summary=words, expires_at=st.none() | st.just(NOW),
)  # fmt: skip


@given(pages, st.none() | pages)
@settings(max_examples=100, deadline=None)
def test_a_page_survives_being_written_and_read(page: Page, earlier: Page | None) -> None:
    clean = (
        page
        if page.summary not in ("~", "null") and page.agent not in ("~", "null")
        else page.model_copy(update={"summary": "", "agent": ""})
    )
    previous = text_from(earlier) if earlier else ""
    assert read(text_from(clean, previous)) == clean


def test_rewriting_a_page_keeps_the_keys_and_comments_of_others() -> None:
    text = "---\n# mine\nid: x\ntitle: T\naliases: [q]\ntags:\n  - a\ncontradicts: [z]\n---\nold"
    page = read(text).model_copy(update={"body": "new", "title": "U"})
    written = text_from(page, text)
    assert written.startswith(
        "---\n# mine\nid: x\ntitle: U\naliases: [q]\ntags:\n  - a\ncontradicts: [z]\nkind: note\n"
    )
    assert read(written) == page
    assert text_from(page, written) == written


@pytest.mark.parametrize(
    "block",
    [
        "{title: T, kind: rule, mine: [1, {a: b}]}\n",
        "? title\n: T\n? kind\n: rule\n? mine\n: [1, {a: b}]\n",
        "  title: T\n  kind: rule\n  mine: [1, {a: b}]\n",
        "title: T\rkind: rule\rmine: [1, {a: b}]\n",
        "title: T\u2028kind: rule\u2028mine: [1, {a: b}]\n",
    ],
)
def test_front_matter_in_another_form_is_written_anew_with_all_it_says(block: str) -> None:
    text = f"---\n{block}---\nbody"
    page = read(text)
    written = text_from(page, text)

    assert (page.title, page.kind, page.body) == ("T", "rule", "body")
    assert read(written) == page
    assert parse(written)[0]["mine"] == ["1", {"a": "b"}]
    assert parse(set_keys(text, {"title": "U"})) == ({"title": "U", "kind": "rule", "mine": ["1", {"a": "b"}]}, "body")


def test_links_are_found_outside_code_only() -> None:
    body = (
        "[[One]] and [[two/Page|label]], [[Three#part]] ![[one.png]] [[ One ]] [[#here]] [[a\\|b]]\n"
        '[x](rel/four.md) [y](<with space.md>) [z](five%20six.md#top "t") [w](https://example.org/no.md) '
        "[v](/no.md)\n"
        "`[[code]]` ``a ` [[code]]`` ` [[open]]\n```\n[[code]]\n~~~\n```\n~~~~ md\n"
        "[[code]]\n~~~\n~~~~\n    [[indented]]\n"
    )
    assert links(body) == (
        "One", "two/Page", "Three", "one.png", "a", "rel/four.md", "with space.md", "five six.md",
        "open", "indented",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Use SQLite, not Postgres!", "use-sqlite-not-postgres"),
        ("数据库 迁移", "数据库-迁移"),
        ("Ünïcode – Straße", "ünïcode-straße"),
        ("***", "page"),
        ("CON", "con-page"),
        ("../../etc/passwd", "etc-passwd"),
        ("word " * 40, "word-" * 11 + "word"),
    ],
)
def test_a_slug_is_readable_and_safe(text: str, expected: str) -> None:
    assert slug(text) == expected


@given(st.text(max_size=200))
def test_every_slug_is_a_file_name_everywhere(text: str) -> None:
    made = slug(text)
    assert 0 < len(made) <= 66
    assert len(made.encode()) < 200
    assert safe_path(f"notes/{made}.md") == f"notes/{made}.md"


@pytest.mark.parametrize(
    ("given_path", "expected"),
    [
        ("notes/a.md", "notes/a.md"),
        (" ./notes//a ", "notes/a.md"),
        ("notes\\a.MD", "notes/a.md"),
        ("v1.2", "v1.2.md"),
        ("cafe\u0301.md", "café.md"),
        ("笔记/数据.md", "笔记/数据.md"),
    ],
)
def test_a_page_path_has_one_form(given_path: str, expected: str) -> None:
    assert safe_path(given_path) == expected


@pytest.mark.parametrize(
    "path",
    ["", "/", "/etc/passwd", "\\\\host\\x.md", "C:\\a.md", "c:a.md", "a/../b.md", "..", "notes/",
     ".git/config",
     "a/.hidden.md", ".md", "a/.md", "nul", "a/con.txt.md", "git~1/x.md", "a\0b.md", "a\nb.md",
     "a\u202eb.md", "a?.md",
     "a:b.md", "a./b.md", "a /b.md", "x" * 201, "\ud800.md", "字" * 90],
)  # fmt: skip
def test_unsafe_page_paths_are_refused(path: str) -> None:
    with pytest.raises(InputError, match="page path"):
        safe_path(path)


@given(st.text(st.sampled_from("ab./\\: ~\0-é") | st.characters(), max_size=30))
def test_an_accepted_path_stays_inside_on_every_system(path: str) -> None:
    try:
        safe = safe_path(path)
    except InputError:
        return
    assert safe_path(safe) == safe
    assert safe.endswith(".md")
    windows = PureWindowsPath(safe)
    assert not windows.is_absolute()
    assert not windows.drive
    assert ".." not in windows.parts
    assert not any(part.startswith(".") for part in safe.split("/"))


_NAMES = ["con", "CON.md", "git~1", "a.md", ".hidden", "..", ". .x", "x" * 250, "é" * 200, "e\u0301", "what?", "\ud800"]


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.text(max_size=12) | st.sampled_from(_NAMES), min_size=1, max_size=6).map("/".join),
    st.sampled_from(["", "-1a2b3c4d"]),
)
@example("\u00a0", "")
@example("a/b .md/c.", "")
@example("/".join(["folder" * 9] * 9), "-1a2b3c4d")
def test_any_text_is_tamed_into_a_safe_path_that_keeps_its_mark(text: str, mark: str) -> None:
    tame = tame_path(text, mark)
    assert safe_path(tame) == tame
    assert tame.endswith(f"{mark}.md")
    assert mark or tame_path(tame) == tame


@pytest.mark.parametrize(
    "path",
    ["notes/a.md", "notes/Ünïcode name, v1.2 (draft).md", "a/b/c..md", "notes/日本語\u3000名.md", "x" * 197 + ".md"],
)
def test_a_safe_path_is_tame_already(path: str) -> None:
    assert tame_path(path) == safe_path(path) == path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[a]] [[a|b]] [[a#b]] ![[a]]", "[[X]] [[X|b]] [[X#b]] ![[X]]"),
        (
            "[x](a.md) [x](a.md#b 'c') [x](<a b.md>)",
            "[x](Y%20%28a%29.md) [x](Y%20%28a%29.md#b 'c') [x](<Y%20%28a%29.md>)",
        ),
        ("[x](https://e.org/a.md) [x](/a.md) [x](a.txt) [x]", None),
        ("`[[a]]` ``[x](a.md) ` ``\n```\n[[a]]\n```\n", None),
        ("a ` b [[a]]\r\n[[a]]\x0c[[a]]", "a ` b [[X]]\r\n[[X]]\x0c[[X]]"),
        ("| [[a\\|b]] |", "| [[X\\|b]] |"),
    ],
)
def test_targets_of_links_are_exchanged_and_nothing_else(text: str, expected: str | None) -> None:
    assert relink(text, lambda _: "X", lambda _: "Y (a).md") == (text if expected is None else expected)
    assert relink(text, lambda _: None, lambda _: None) == text


@given(st.text("[]()|#\\ \n<>%.ad/m", max_size=80))
def test_links_are_exchanged_where_links_are_seen(text: str) -> None:
    asked: list[str] = []
    relink(text, lambda target: asked.append(target), lambda target: asked.append(target))  # type: ignore[func-returns-value]
    assert set(filter(None, asked)) == set(links(text))


def test_exchanging_the_links_of_one_endless_line_takes_no_longer_than_reading_it() -> None:
    text = "`a` [[b]] [x](c.md) " * 20_000
    assert len(re.findall("X", relink(text, lambda _: "X", lambda _: "X.md"))) == 40_000
