"""Search through `LocalMemory`: found, ranked, bounded, and never from another project."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library import NOW, Library, project

from ai_memory_mcp.model import Draft, Scope
from ai_memory_mcp.ranking import tokens
from ai_memory_mcp.server import render


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A library that tests only read."""
    shelf = Library(tmp_path_factory.mktemp("shelf"))
    for number, name in enumerate(("one", "two", "three")):
        shelf.page(f"Page of {name}", f"Alpha beta gamma {name}. 数据库 C++ don't E030{number}", name)
        shelf.page(f"Old {name}", "Alpha beta delta", name, status="superseded", superseded_by="x")
        shelf.seen(f"alpha epsilon of {name} 🎉", name)
    return shelf


# --- any text is a question


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "C++",
            "(MoMA)",
            "foo:bar",
            "don't",
            '"unbalanced',
            '""',
            '"',
            "NEAR(",
            "NEAR(a b, 2)",
            "a AND",
            "OR",
        ),
        *(
            "NOT x",
            "*",
            "a*",
            "^a",
            "-a",
            "+a",
            "{title}: a",
            "scope:p",
            "title:x",
            "🎉",
            "\0",
            "a\0b",
            "the of and",
            "?!.",
        ),
        *(
            "数据库",
            "数",
            "数据库 and C++",
            "\ud800",
            "'; DROP TABLE pages; --",
            "%",
            "_",
            "\\",
            "kind:",
            "kind:x",
            "²·½",
            "a\u0301",
        ),
        *(
            "before:0001-01-01 a",
            "after:9999-12-31 a",
            "path:% a",
            "agent:'x' a",
            '"数据" "don\'t"',
            "\ufeff",
            "ـ",
            "हिन्दी",
        ),
        "word " * 2000,
        "x" * 10_000,
        '"' * 500,
        "(" * 5000,
        "数" * 5000,
        " ".join(f"word{n}" for n in range(3000)),
        " ".join(f'"quoted {n}"' for n in range(500)),
    ],
    ids=lambda text: ascii(text)[:30],
)
def test_any_text_is_a_question(shelf: Library, text: str) -> None:
    for fields in ({}, {"kinds": ("observation",)}, {"everywhere": True}):
        found = shelf.ask(text, **fields)
        assert found.hits or found.hint


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(
            st.sampled_from(
                [
                    "alpha",
                    '"',
                    "(",
                    ")",
                    "NEAR",
                    "AND",
                    "OR",
                    "NOT",
                    "*",
                    ":",
                    "^",
                    "kind:",
                    "数据",
                    "before:2026",
                    "{",
                    "-",
                ]
            ),
            max_size=12,
        ).map(" ".join),
    ),
    st.sampled_from(["one", "two", "three"]),
    st.lists(st.sampled_from(["note", "observation", "user-prompt", "nonsense", "\ud800"]), max_size=2),
)
def test_no_question_fails_or_leaves_its_project(shelf: Library, text: str, name: str, kinds: list[str]) -> None:
    found = shelf.ask(f"alpha {text}", name, kinds=tuple(kinds))

    assert {hit.project for hit in found.hits} <= {name}
    assert found == shelf.ask(f"alpha {text}", name, kinds=tuple(kinds))


# --- what is found


@pytest.mark.parametrize(
    ("body", "questions"),
    [
        ("def getUserName(self): ...", ["getUserName", "getusername", "user name", "UserName", "get_user_name"]),
        ("MAX_RETRY_COUNT = 5", ["MAX_RETRY_COUNT", "max_retry_count", "retry count", "maxRetryCount"]),
        (
            "see src/app/http_client.py:42",
            ["src/app/http_client.py", "http_client.py", "http_client", "app/http_client"],
        ),
        ("import foo.bar.BazQux", ["foo.bar.BazQux", "foo.bar", "BazQux", "baz"]),
        ("error[E0308]: mismatched types", ["E0308", "error E0308", "e0308"]),
        ("raised sqlite3.OperationalError", ["OperationalError", "sqlite3.OperationalError", "operational error"]),
        ("数据库迁移失败", ["数据库", "迁移失败", "数据库为什么失败", "库", "败", '"数据库"']),
        ("Pythonの設定ファイル", ["python", "設定", "Pythonの設定", "設定ファイルはどこ"]),
        ("데이터베이스 연결", ["데이터베이스", "연결"]),
        ("Zürich café naïve", ["zurich", "CAFÉ", "naive"]),
        ("We migrated the caches", ["migrating caches", "cache migration"]),
    ],
)
def test_names_and_scripts_are_found_whole_and_in_parts(library: Library, body: str, questions: list[str]) -> None:
    library.page("Target", body)
    library.page("Decoy", "Something else entirely about gardening and 天気 날씨")
    for question in questions:
        assert library.titles(question)[:1] == ["Target"], question


def test_a_question_in_words_finds_the_page_that_answers_most_of_it(library: Library) -> None:
    library.page("Retry", "The payment gateway times out, so we retry three times with backoff.")
    library.page("Gateway", "Another gateway, for mail.")
    library.page("Time", "Times and dates are in UTC.")

    assert library.titles("Why do we retry when the payment gateway times out?")[0] == "Retry"


def test_quoted_words_must_stand_together(library: Library) -> None:
    library.page("Together", "the connection pool is small")
    library.page("Apart", "the pool has no connection")

    assert library.titles('"connection pool"') == ["Together"]
    assert library.titles('small "connection pool"') == ["Together"]


def test_quoted_words_that_stand_nowhere_together_are_searched_one_by_one_and_said_so(library: Library) -> None:
    library.page("Apart", "the pool has no connection")
    found = library.ask('"connection pool"')

    assert [hit.title for hit in found.hits] == ["Apart"]
    assert "quoted" in found.hint


def test_words_that_stand_together_count_more(library: Library) -> None:
    library.page("A", "The pool is blue. The sun is hot. We swim all day. No connection here at all.")
    library.page("B", "The connection pool is blue. The sun is hot. We swim all day. Not here at all.")

    assert library.titles("connection pool") == ["B", "A"]


def test_a_word_in_the_title_counts_more(library: Library) -> None:
    library.page("Other", "caching once, and more words of the kind that fill a page")
    library.page("Caching", "what fills a page of words, once and more of the kind")

    assert library.titles("caching") == ["Caching", "Other"]


# --- filters


def test_filters_narrow(library: Library) -> None:
    library.page("Note", "alpha", updated=NOW, agent="codex")
    library.page("Choice", "alpha", kind="decision", path="decisions/choice.md", updated=NOW - timedelta(days=10))

    assert library.titles("alpha kind:decision") == ["Choice"]
    assert library.titles("alpha", kinds=("decisions",)) == ["Choice"]
    assert library.titles("alpha path:decisions/") == ["Choice"]
    assert library.titles("alpha path:%") == []
    assert library.titles("alpha before:2026-11-20") == ["Choice"]
    assert library.titles("alpha after:2026-11-20") == ["Note"]
    assert library.titles("alpha agent:codex") == ["Note"]
    assert library.titles("alpha agent:code") == []


def test_filters_narrow_observations_too(library: Library) -> None:
    library.seen("alpha first", session="a", agent="claude-code", at=NOW - timedelta(days=10))
    library.seen("alpha second in src/main.py", session="b", agent="codex", kind="post-tool")
    ask = {"kinds": ("observation",)}

    assert library.titles("alpha agent:claude", **ask) == ["alpha first"]
    assert library.titles("alpha path:src/main", **ask) == ["alpha second in src/main.py"]
    assert library.titles("alpha before:2026-11-20", **ask) == ["alpha first"]
    assert library.titles("alpha kind:post-tool") == ["alpha second in src/main.py"]
    assert library.titles("alpha", kinds=("post-tool",)) == ["alpha second in src/main.py"]


def test_an_unknown_kind_is_said(library: Library) -> None:
    library.page("Note", "alpha")
    found = library.ask("alpha", kinds=("nonsense",))

    assert found.hits == ()
    assert "no kind nonsense" in found.hint


def test_generated_pages_are_no_answers(library: Library) -> None:
    assert library.titles("memory project one") == []
    assert library.titles("memory project one", kinds=("project",)) == ["one"]


# --- projects


def test_another_project_is_never_among_the_hits_unless_asked_everywhere(library: Library) -> None:
    for name in library.projects:
        library.page(f"Page {name}", f"needle p{library.projects['two'].id.replace('-', '')}", name)
        library.seen(f"needle seen in {name}", name)

    assert library.titles("needle") == ["Page one", "needle seen in one"]
    assert library.titles("needle", "three") == ["Page three", "needle seen in three"]
    assert library.titles("p" + library.projects["two"].id.replace("-", ""), limit=100) == ["Page one"]
    assert {hit.project for hit in library.ask("needle", everywhere=True).hits} == {"one", "two", "three"}
    assert {hit.project for hit in library.ask("needle", "").hits} == {"one", "two"}  # the workspace


def test_a_search_over_many_projects_works(library: Library) -> None:
    with library.memory.res.index.write() as db:
        from ai_memory_mcp.index import rows

        for number in range(400):
            rows.put_project(db, project(f"p{number}"))
    library.page("Target", "needle")
    found = library.ask("needle", everywhere=True)

    assert [hit.title for hit in found.hits] == ["Target"]
    assert len(found.searched) < 100


# --- order


def test_superseded_pages_stand_below_all_current_ones(library: Library) -> None:
    for number in range(12):
        library.page(f"Cache {number}", "cache cache cache", status="superseded", superseded_by="notes/new.md")
    library.page("New", "much about other things, and one word about the cache " + "filler " * 300, path="notes/new.md")
    hits = library.ask("cache", limit=5).hits

    assert hits[0].title == "New"
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert "superseded by notes/new.md" in hits[1].why


def test_observations_stand_below_pages_and_fill_up_what_pages_miss(library: Library) -> None:
    for number in range(5):
        library.seen(f"needle observed {number}", session="s")
    assert len(library.titles("needle")) == 3  # of one session
    library.page("Page", "a needle in much hay " + "hay " * 100)
    hits = library.ask("needle").hits

    assert [hit.kind for hit in hits] == ["note"] + ["user-prompt"] * 3
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    for number in range(7):
        library.page(f"Page {number}", "needle")
    assert {hit.kind for hit in library.ask("needle").hits} == {"note"}
    assert len(library.titles("needle", kinds=("observations",))) == 5


def test_equal_pages_keep_one_order(library: Library) -> None:
    paths = [library.page("Same", "alpha beta") for _ in range(6)]

    assert [hit.path for hit in library.ask("alpha").hits] == sorted(paths)


def test_the_limit_is_kept(library: Library) -> None:
    for number in range(9):
        library.page(f"Page {number}", "alpha")

    assert len(library.titles("alpha", limit=4)) == 4


# --- the answer


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(min_value=100, max_value=1500), st.sampled_from(["alpha", "数据库", "needle long"]))
def test_the_rendered_answer_is_within_the_budget(full: Library, budget: int, question: str) -> None:
    for fields in ({}, {"everywhere": True}, {"kinds": ("observation",)}):
        found = full.ask(question, max_tokens=budget, limit=20, **fields)

        assert tokens(render.answer(found)) <= budget
        assert found.hits


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Library:
    full = Library(tmp_path_factory.mktemp("full"))
    for number, name in enumerate(["one", "two", "three"] * 5):
        full.page(f"{'Long title ' * 30}{number}", f"alpha needle {'long text ' * 200} 数据库{'迁移' * 300}", name)
        full.seen(f"alpha needle long {number} 数据库 " + "words " * 200, name, session=f"s{number}")
    return full


def test_a_larger_budget_gives_more(full: Library) -> None:
    counts = [len(full.ask("alpha", max_tokens=budget).hits) for budget in (100, 400, 2000)]

    assert counts == sorted(counts)
    assert counts[0] >= 1
    assert counts[2] == 8


def test_an_answer_says_where_was_looked_and_what_to_do_when_nothing_is_found(library: Library) -> None:
    assert library.ask("nothing like it").searched == "pages and observations of one"
    assert "everywhere" in library.ask("nothing like it").hint
    assert "filters" in library.ask("nothing kind:decision").hint
    assert "no words" in library.ask("?!").hint
    assert "quotes" in library.ask('"nothing like"').hint


def test_a_hit_shows_the_evidence(library: Library) -> None:
    body = "# Deploy\n\n" + "Nothing to see here. " * 40 + "Run `make deploy` with the needle flag.\n" + "More. " * 99
    library.memory.write(Scope(project="one"), Draft(title="Deploy", body=body, kind="procedure"))
    hit = library.ask("needle flag").hits[0]

    assert "make deploy" in hit.snippet
    assert "Deploy\n" not in hit.snippet
    assert "procedure counts more" in hit.why


def test_what_comes_from_the_agent_that_the_question_names_stands_higher(library: Library) -> None:
    for agent in ("codex", "claude-code", "gemini"):
        library.page(f"Cache of {len(agent)}", "the cache is kept in memory", agent=agent)
        library.seen("the cache is kept in memory", session=agent, agent=agent)

    notes = {"kinds": ("note",)}
    assert library.ask("what did Claude say of the cache", **notes).hits[0].agent == "claude-code"
    assert library.ask("what did gemini say of the cache", kinds=("observation",)).hits[0].agent == "gemini"
    plain = library.without("speaker")
    found = [plain.ask(f"what did {name} say of the cache", **notes).hits[0] for name in ("claude", "gemini")]
    assert found[0].agent == found[1].agent
