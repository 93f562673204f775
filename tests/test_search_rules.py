"""What search keeps to whatever is stored and asked: order, filters, projects, limits; and that each part of the
ranking matters."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from library import NOW, Library, project

from ai_memory_mcp import pages
from ai_memory_mcp.config import SEARCH_PARTS
from ai_memory_mcp.index import rows, search
from ai_memory_mcp.index.search import slips_between
from ai_memory_mcp.model import Hit, Scope
from ai_memory_mcp.ranking import MAX_TERMS, take_apart, tokens
from ai_memory_mcp.server import render

KINDS = ("note", "decision", "gotcha", "rule")
SEEN = ("user-prompt", "post-tool", "assistant-message")
AGENTS = ("codex", "claude-code", "cursor")
WORDS = ("alpha", "beta", "gamma", "retry", "gateway", "数据库", "getUserName", "the", "zzzunknown")
QUIET = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """Three projects of like words, kinds, agents, days and paths, that tests only read."""
    mixed = Library(tmp_path_factory.mktemp("mixed"))
    for number in range(60):
        name = ("one", "two", "three")[number % 3]
        words = " ".join(WORDS[(number + step * (1 + number % 4)) % 7] for step in range(2 + number % 5))
        day = NOW - timedelta(days=number % 13)
        agent = AGENTS[number // 3 % 3]
        kind = KINDS[number // 3 % 4]
        folder = ("notes", "decisions", "a_b")[number // 3 % 3]
        mixed.page(
            f"Page {number} {words}", words * 2, name, kind=kind, agent=agent, updated=day, path=f"{folder}/{number}.md"
        )
        for kind_seen in SEEN[: 1 + number % 3]:
            mixed.seen(
                f"{words} {number} in src/{folder}/{number}.py",
                name,
                session=f"s{number // 9}-{agent}",
                agent=agent,
                kind=kind_seen,
                at=day + timedelta(seconds=number),
            )
    return mixed


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


# --- filters, in combination, for pages and observations


@QUIET
@given(
    texts,
    st.lists(st.sampled_from((*KINDS, *SEEN, "observation")), max_size=2),
    st.sampled_from(("", *AGENTS, "claude", "nobody")),
    st.sampled_from(("", "notes/", "src/", "a_b", "decisions", "%", "1.")),
    st.integers(0, 14),
    st.integers(0, 14),
    st.sampled_from(("one", "two", "three")),
)
@example("alpha", ["post-tool"], "", "", 14, 0, "one")
def test_nothing_comes_through_the_filters_that_does_not_fit(
    mixed: Library, text: str, kinds: list[str], agent: str, path: str, after: int, before: int, name: str
) -> None:
    since, until = NOW - timedelta(days=after), NOW - timedelta(days=before - 1)
    asked = f"{text} after:{since.isoformat()} before:{until.isoformat()}"
    asked += f" agent:{agent}" * bool(agent) + f' path:"{path}"' * bool(path)
    hits = mixed.ask(asked, name, kinds=tuple(kinds), limit=50, max_tokens=20_000).hits

    wanted = {*kinds, *(SEEN if "observation" in kinds else ())}
    for hit in hits:
        assert hit.project == name
        assert not kinds or hit.kind in wanted
        assert not agent or agent in (hit.agent, hit.agent.partition("-")[0])
        assert hit.date is not None
        assert since <= hit.date < until
        assert path in (hit.path if hit.kind in KINDS else _text(mixed, hit))


@pytest.mark.parametrize("kind", SEEN)
def test_what_stands_beside_a_match_fits_the_filters_too(library: Library, kind: str) -> None:
    for other in SEEN:
        library.seen(f"needle {other}" if other == kind else f"beside it {other}", kind=other)

    assert {hit.kind for hit in library.ask("needle", kinds=(kind,)).hits} == {kind}


def _text(library: Library, hit: Hit) -> str:
    with library.memory.res.index.read() as db:
        return str(db.execute("SELECT text FROM observations WHERE id = ?", (hit.id,)).fetchone()[0])


# --- order


@QUIET
@given(texts, st.sampled_from(("one", "two", "three", "")), st.booleans())
def test_the_same_question_has_the_same_answer(mixed: Library, text: str, name: str, everywhere: bool) -> None:
    first = mixed.ask(text, name, everywhere=everywhere)

    assert first == mixed.without().ask(text, name, everywhere=everywhere)
    assert [hit.score for hit in first.hits] == sorted((hit.score for hit in first.hits), reverse=True)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=6), st.randoms(use_true_random=False), texts)
def test_pages_keep_their_order_when_they_are_indexed_in_another(
    library: Library, told: list[tuple[str, str]], random: Any, asked: str
) -> None:
    paths = [library.page(title, body, path=f"notes/p{n}.md") for n, (title, body) in enumerate(told)]
    owner = library.projects["one"]
    before = [(hit.path, hit.score) for hit in library.ask(asked).hits]
    random.shuffle(paths)
    with library.memory.res.index.write() as db:
        for path in paths:
            pages.index_file(db, library.memory.res, owner, path)

    assert [(hit.path, hit.score) for hit in library.ask(asked).hits] == before
    with library.memory.res.index.write() as db:
        for path in paths:
            rows.drop_page(db, owner.id, path)


@settings(QUIET, max_examples=20)
@given(texts, texts, texts, st.sampled_from(KINDS), st.integers(0, 9))
@example("alpha", "alpha", "alpha beta", "note", 40)
def test_a_superseded_page_never_stands_above_its_successor(
    library: Library, old: str, new: str, asked: str, kind: str, more: int
) -> None:
    paths = [
        library.page(f"{asked} {n}", f"{asked} {old}", path=f"old/{n}.md", status="superseded", superseded_by="new.md")
        for n in range(1 + more)
    ]
    paths.append(library.page("Another", f"{new} " + "filler " * 200 + asked, path="new.md", kind=kind))
    found = [hit.path for hit in library.ask(asked, kinds=KINDS, limit=10, max_tokens=20_000).hits]

    assert not found or found[0] == "new.md"
    with library.memory.res.index.write() as db:
        for path in paths:
            rows.drop_page(db, library.projects["one"].id, path)


# --- other projects


@pytest.fixture(scope="module")
def secretive(tmp_path_factory: pytest.TempPathFactory) -> Library:
    """A project with little, beside others full of what must not be seen from it."""
    secretive = Library(tmp_path_factory.mktemp("secretive"))
    secretive.page("Ours", "alpha beta and [[Hidden plan]] and [[notes/hidden.md]]")
    for n in range(6):
        secretive.seen(f"alpha ours {n}", session="shared", kind="post-tool")
        secretive.seen(f"alpha xylophone {n}", "two", session="shared")
        secretive.seen(f"alpha xylophone {n}", "three", session="shared")
    for name in ("two", "three"):
        secretive.page("Hidden plan", "alpha xylophone accordion beta", name, path="notes/hidden.md")
        secretive.page("Hidden choice", "alpha xylophone", name, kind="decision", agent="cursor")
    return secretive


@QUIET
@given(
    st.lists(
        st.sampled_from(
            ("alpha", "beta", "xylophon", "xylophome", "accordeon", "Hidden plan", '"hidden plan"', "plan")
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from(
        ("", " kind:decision", " agent:cursor", " path:hidden", " before:2000-01-01", " kind:rule agent:x")
    ),
    st.sampled_from(((), ("observation",), ("decision",), ("user-prompt", "note"))),
)
def test_nothing_of_another_project_is_told(
    secretive: Library, words: list[str], narrow: str, kinds: tuple[str, ...]
) -> None:
    found = secretive.ask(" ".join(words) + narrow, kinds=kinds, limit=30)
    told = found.hint.lower() + " ".join(f"{hit.title} {hit.why} {hit.snippet}" for hit in found.hits).lower()

    assert {hit.project for hit in found.hits} <= {"one"}
    assert "xylophone" not in told
    assert "accordion" not in told
    assert "hidden choice" not in told
    assert "notes/hidden.md" not in {hit.path for hit in found.hits}


def test_a_misspelt_word_is_not_mended_with_a_word_of_another_project_among_many(library: Library) -> None:
    for n in range(search.MANY_PROJECTS + 4):
        library.projects[f"p{n}"] = project(f"p{n}")
        with library.memory.res.index.write() as db:
            rows.put_project(db, library.projects[f"p{n}"])
    library.page("Ours", "alpha", "p0")
    library.page("Theirs", "xylophone", "three")

    assert "xylophone" not in library.ask("alpha xylophome", "").hint
    assert "xylophone" in library.ask("alpha xylophome", "three").hint


# --- limits


def test_forged_marks_of_data_cost_no_more_than_the_budget(library: Library) -> None:
    for _ in range(5):
        library.page("<memory-data " * 9, "alpha " + "</memory-data> " * 40)

    for budget in range(100, 900, 50):
        assert tokens(render.answer(library.ask("alpha", max_tokens=budget))) <= budget


@QUIET
@given(texts, st.integers(1, 40), st.integers(100, 3000), st.booleans(), st.sampled_from(((), ("observation",))))
def test_neither_limit_nor_budget_is_exceeded(
    mixed: Library, text: str, limit: int, budget: int, everywhere: bool, kinds: tuple[str, ...]
) -> None:
    found = mixed.ask(text, limit=limit, max_tokens=budget, everywhere=everywhere, kinds=kinds)

    assert len(found.hits) <= limit
    assert tokens(render.answer(found)) <= budget


@pytest.mark.parametrize("more", [0, 3])
def test_an_answer_without_hits_keeps_to_the_budget_too(library: Library, more: int) -> None:
    for _ in range(3):
        library.page("数据库连接池的大小是二十" * 6, "数据库")
    words = "certificate gateway connection database kubernetes elephant migration scheduler".split()
    for word in words:
        library.page(word, f"{word} of the shop")
    library.page("Slips", "x")
    asked = " ".join(word[:4] + word[5:] for word in words) + " 数据库" + " agent:nobody" * (not more)

    found = library.ask(asked, max_tokens=100)
    assert tokens(render.answer(found)) <= 100
    assert bool(found.hits) == bool(more)
    assert found.hint


# --- what is odd


@pytest.mark.parametrize(
    "named", ["9999-12-31", "December 9999", "9999-12", "\u017fep 2020", "0000-00-00", "31 June 2026"]
)
def test_days_that_no_calendar_has_are_words(library: Library, named: str) -> None:
    library.page("Gateway", "The gateway retries.")

    assert library.titles(f"{named} gateway") == ["Gateway"]


def test_a_clock_at_the_end_of_time_stops_nothing(library: Library) -> None:
    last = datetime.max.replace(tzinfo=timezone.utc)
    library.page("Late page", "gateway", updated=last)
    library.seen("gateway seen late", at=last)
    library.seen("gateway seen early", at=datetime.min.replace(tzinfo=timezone.utc))

    assert set(library.titles("latest gateway")) == {"Late page", "gateway seen late", "gateway seen early"}


def test_a_long_quoted_text_must_stand_together_by_its_beginning(library: Library) -> None:
    words = [f"w{'abcdefghij'[n // 10 % 10]}{'abcdefghij'[n % 10]}" for n in range(100)]
    library.page("Whole", " ".join(words))
    library.page("Shuffled", " ".join(reversed(words)))

    assert library.titles(f'"{" ".join(words)}"') == ["Whole"]
    assert max(len(phrase) for phrase in take_apart(f'"{" ".join(words)}"').phrases) == MAX_TERMS


def test_more_projects_than_sqlite_takes_arguments_can_be_asked(library: Library) -> None:
    library.page("Ours", "alpha gateway")
    library.seen("alpha seen")
    many = [f"p{n}" for n in range(300_000)]
    with library.memory.res.index.read() as db:
        for ids, found in ((many, 0), ([*many, library.projects["one"].id], 1)):
            assert len(search.pages(db, take_apart("alpha"), ids, [], 8).matches) == found
            assert len(search.observations(db, take_apart("alpha"), ids, [], 8).matches) == found
            assert len(search.respell(db, {"gatewai": "gatewya"}, ids)) == found


def test_an_agent_without_letters_is_nobody(library: Library) -> None:
    library.page("Gateway", "gateway", agent="")

    assert library.titles("gateway agent:!!!") == []


def test_many_quoted_texts_cost_no_more_than_one(library: Library) -> None:
    asked = take_apart(" ".join(f'"{"alpha " * n}"' for n in range(1, 40)))

    assert sum(len(phrase) for phrase in asked.phrases) <= MAX_TERMS


def test_only_the_first_unknown_words_are_respelt(library: Library) -> None:
    words = [f"{a}{b}sample" for a in "bcdf" for b in "aeio"]
    library.page("Words", " ".join(words))

    found = library.ask(" ".join(f"{word[:5]}x{word[5:]}" for word in words))
    assert found.hint.count("read '") == search.MANY_UNKNOWN


@pytest.mark.parametrize("name", ["one", "two"])
def test_the_copy_of_a_page_is_ranked_by_its_own_words(library: Library, name: str) -> None:
    library.page("Gateway retries", "The gateway retries.", id="same", kind="decision", path="a.md")
    library.page("Something else", "Much else, and once a gateway. " * 9, name, id="same", kind="decision", path="b.md")

    hits = library.ask("gateway retries", everywhere=True).hits
    assert [hit.path for hit in hits] == ["a.md", "b.md"]
    assert hits[0].score > hits[1].score
    assert [hit.why.count("decision counts more") for hit in hits] == [1, 1]


# --- what stands in the way of others


def test_a_long_page_does_not_take_the_places_of_all_others(library: Library) -> None:
    for n in range(4):
        library.page(f"Short {n}", "the gateway retries")
    library.page(
        "Gateway log", "\n\n".join("gateway said things of the day. " * 100 for _ in range(search.PASSAGES + 5))
    )

    assert set(library.titles("gateway")) == {"Gateway log", "Short 0", "Short 1", "Short 2", "Short 3"}


def test_front_pages_of_many_projects_do_not_take_the_places_of_what_is_told(library: Library) -> None:
    for n in range(search.PASSAGES + 5):
        library.page(f"Project memory {n}", "project memory", kind=("project", "lint")[n % 2])
    library.page("Note", "the project keeps its memory in a folder, with other words beside")

    assert library.titles("project memory") == ["Note"]
    assert "Note" not in library.titles("project memory kind:lint")


def test_quoted_stop_words_are_looked_for_in_every_passage_of_a_page(library: Library) -> None:
    like = "the gateway is death, gateway death gateway death. " * 60
    library.page(
        "Long", "\n\n".join([like, like, "Once there was a gateway of death. " + "Some filling. " * 200, like])
    )

    found = library.ask('"gateway of death"')
    assert "a gateway of death" in found.hits[0].snippet
    assert not found.hint


def test_quoted_stop_words_are_looked_for_below_what_only_looks_like_them(library: Library) -> None:
    library.seen("This is the gateway of death of old times, and more, and other things", session="old")
    for n in range(40):
        library.seen(f"gateway death gateway death {n}", session=f"s{n}")

    found = library.ask('"gateway of death"')
    assert [hit.session for hit in found.hits] == ["old-one"]
    assert not found.hint


# --- long pages


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 30), st.sampled_from(("quokka habitat", "getQuokkaHabitat", "袋鼠栖息地")))
@example(30, "quokka habitat")
def test_a_long_page_is_found_and_shown_by_its_best_passage(library: Library, place: int, needle: str) -> None:
    library.page("Short", "A short page on something else, with a kangaroo and a habitat.", path="short.md")
    parts = [f"## Part {n}\n\n" + f"Much is said of weather and trains here, in part {n}. " * 60 for n in range(31)]
    parts[place] += f"\n\nThe {needle} is what part {place} is about."
    library.page("Long", "\n\n".join(parts), path="long.md")
    hit = library.ask(needle).hits[0]

    assert hit.path == "long.md"
    assert f"The {needle} is what part {place} is about." in hit.snippet


@pytest.mark.parametrize("name", ["C++", "C#"])
def test_the_snippet_is_where_a_name_with_a_sign_stands(library: Library, name: str) -> None:
    library.page(
        "Languages", "Of weather and trains. " * 60 + f"We write {name} here. " + "Of weather and trains. " * 60
    )

    assert f"We write {name} here." in library.ask(name).hits[0].snippet


# --- each part of the ranking


def _adjacent(library: Library) -> None:
    library.page("B", "The connection pool is blue, the sun hot; we swim. Words of filling stand here.")
    library.page("A", "The pool of blue is a connection, sun hot; we swim. Words of filling stand here.", path="a.md")


def _near(library: Library) -> None:
    far = "Of other things much is said in these lines, with many words, none of which matters at all. "
    library.page("B", "The pool has one good connection. " + far * 3)
    library.page("A", "The pool is good. " + far * 3 + "No connection.", path="a.md")


def _cover(library: Library) -> None:
    library.page("Retry", "Words that fill it.")
    library.page("Retry of mail and printing and fonts", "Retry retry retry retry.", path="a.md")


def _inside(library: Library) -> None:
    library.page("B", "The token is checked by preauthflow and oauthserver. Say auth.")
    library.page("A", "The token is checked by somewhere sometimes. Say auth.", path="a.md")


def _context(library: Library) -> None:
    for n in range(3):
        library.seen(f"one certificate of the shop {n}", session="a", title=f"B {n}")
    library.seen("a certificate, a certificate, a certificate", session="b", title="A")


def _speaker(library: Library) -> None:
    library.seen("Ann: the certificate is bought, with Bob", session="a")
    library.seen("Bob: the certificate is bought, with Ann", session="b")


def _time(library: Library) -> None:
    library.seen("the certificate was bought yesterday, with care", session="a", title="B")
    library.seen("the certificate was bought quickly, with care", session="b", title="A")


def _authority(library: Library) -> None:
    library.page("B", "certificate of the shop", kind="rule", path="z.md")
    library.page("A", "certificate of the shop", path="a.md")


def _dates(library: Library) -> None:
    library.page("B", "certificate of the shop", path="z.md")
    library.page("A", "certificate of the shop", path="a.md", updated=NOW - timedelta(days=90))


def _links(library: Library) -> None:
    library.page("Best certificate", "certificate certificate [[z]]", path="best.md")
    library.page("B", "certificate of the shop", path="z.md")
    library.page("A", "certificate of the shop", path="a.md")


def _feedback(library: Library) -> None:
    path = library.page("B", "certificate of the shop", path="notes/z.md")
    library.page("A", "certificate of the shop", path="notes/a.md")
    library.memory.feedback(Scope(project=library.projects["one"].id), path, "helpful")


def _typos(library: Library) -> None:
    library.page("B", "certificate of the shop")


PARTS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "adjacent": (_adjacent, "connection pool", {}),
    "near": (_near, "connection pool", {}),
    "cover": (_cover, "retry", {}),
    "inside": (_inside, "auth token", {}),
    "context": (_context, "certificate", {"kinds": ("observation",)}),
    "speaker": (_speaker, "what did Ann say of the certificate", {"kinds": ("observation",)}),
    "time": (_time, "when was the certificate bought", {"kinds": ("observation",)}),
    "authority": (_authority, "certificate", {}),
    "dates": (_dates, "latest certificate", {}),
    "links": (_links, "certificate", {}),
    "feedback": (_feedback, "certificate", {}),
    "typos": (_typos, "certifcate", {}),
}


def test_no_part_of_the_ranking_is_without_a_test() -> None:
    assert {*PARTS, "meaning"} == set(SEARCH_PARTS)  # meaning needs a model: tests/test_embedding.py


@pytest.mark.parametrize("part", sorted(PARTS))
def test_each_part_of_the_ranking_matters(library: Library, part: str) -> None:
    fill, asked, how = PARTS[part]
    fill(library)
    others = [one for one in SEARCH_PARTS if one not in (part, "typos")]
    on = _first(library.without(*others), asked, how)
    off = _first(library.without(*others, part), asked, how)

    assert on.startswith(("B", "Ann:", "Retry"))
    assert off != on


def _first(library: Library, asked: str, how: dict[str, Any]) -> str:
    return next((title for title in library.titles(asked, **how) if title != "Best certificate"), "")


def test_a_speaker_is_known_also_below_a_title(library: Library) -> None:
    library.seen("Ann: the certificate is bought, with Bob", session="a", title="A chat of today")
    library.seen("Bob: the certificate is bought, with Ann", session="b", title="A chat of today")

    asked = "what did Ann say of the certificate"
    best = library.without(*(part for part in SEARCH_PARTS if part != "speaker")).ask(asked, kinds=("observation",))
    assert best.hits[0].snippet.startswith("Ann:")
    assert best.hits[0].score > best.hits[1].score


# --- slips


def _plain_slips(one: str, other: str) -> int:
    """Optimal string alignment as it is defined, by recursion."""
    if not one or not other:
        return len(one) + len(other)
    ways = [
        _plain_slips(one[:-1], other) + 1,
        _plain_slips(one, other[:-1]) + 1,
        _plain_slips(one[:-1], other[:-1]) + (one[-1] != other[-1]),
    ]
    if len(one) > 1 and len(other) > 1 and one[-1] == other[-2] and one[-2] == other[-1]:
        ways.append(_plain_slips(one[:-2], other[:-2]) + 1)
    return min(ways)


@settings(max_examples=200, deadline=None)
@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_slips_are_counted_as_defined(one: str, other: str) -> None:
    assert slips_between(one, other) == _plain_slips(one, other) == slips_between(other, one)
