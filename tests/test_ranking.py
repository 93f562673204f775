"""Words of texts and questions, without an index."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.ranking import clip, kind_named, match_expression, scope_token, snippet, take_apart, tokens


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("How do we retry?", ("retri",)),
        ("what is this", ()),  # words that every text has are not in the index
        ("What kind of parser is mentioned?", ("parser",)),  # what a question says of itself is not asked for
        ("what kind", ("kind",)),  # unless there is nothing else
        ("error E0308 error", ("error", "0308", "e0308")),
        ("库 lock", ("库*", "lock")),  # one character stands for every pair that begins with it
        ("?!… 🎉", ()),
    ],
)
def test_a_question_gives_its_telling_terms(text: str, terms: tuple[str, ...]) -> None:
    assert take_apart(text).terms == terms


def test_filters_are_taken_out_of_the_question() -> None:
    question = take_apart(
        'retry kind:decisions agent:codex path:"src/my app/" before:2026-02-01 after:2026-01-01T10:00:00'
    )

    assert question.terms == ("retri",)
    assert (question.kinds, question.agent, question.path) == (("decision",), "codex", "src/my app/")
    assert question.before == datetime(2026, 2, 1, tzinfo=timezone.utc)
    assert question.after == datetime(2026, 1, 1, 10, tzinfo=timezone.utc)
    assert question.narrowed


@pytest.mark.parametrize("text", ["before:lunch", "kind:of", "foo:bar", "std::vector", "http://x.y", "path:"])
def test_what_only_looks_like_a_filter_is_words(text: str) -> None:
    question = take_apart(text)

    assert question.terms
    assert not (question.kinds)
    assert not (question.path)
    assert not (question.before)
    assert not (question.after)


def test_quoted_words_are_required_together() -> None:
    question = take_apart('why "connection pools" and "数据库 lock" exist')

    assert question.phrases == (("connect", "pool"), ("数据", "据库", "lock"))
    assert match_expression(question.phrases[:1], "exist", "{body}", [["p1", "p2"], ["knote"]]) == (
        '{body} : ("connect" + "pool" AND "exist") AND scope : ("p1" OR "p2") AND scope : ("knote")'
    )


def test_the_quotes_of_pasted_code_require_nothing() -> None:
    assert take_apart('assert headers == {"Content-Length": 24} or ["HTTP/1.1", "HTTP/2"]').phrases == ()


def test_a_quoted_text_with_stop_words_is_looked_for_in_the_text_itself() -> None:
    assert take_apart('"to be or not" "connection pool"').loose == ("to be or not",)


def test_words_that_stand_together_in_a_question_are_looked_for_together() -> None:
    question = take_apart("the connection pool of idle workers")

    assert question.adjacent == (("connect", "pool"), ("pool", "idl"), ("idl", "worker"))
    assert ("connect", "idl") in question.near
    assert ("pool", "worker") in question.near


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("what broke on 2026-03-31?", (2026, 3, 31), (2026, 4, 1)),
        ("plans for 2026-12", (2026, 12, 1), (2027, 1, 1)),
        ("on May 8, 2023", (2023, 5, 8), (2023, 5, 9)),
        ("the 8th of September 2023", (2023, 9, 8), (2023, 9, 9)),
        ("what was decided in october 2025", (2025, 10, 1), (2025, 11, 1)),
    ],
)
def test_a_time_in_the_question_is_understood(
    text: str, since: tuple[int, int, int], until: tuple[int, int, int]
) -> None:
    question = take_apart(text)

    assert question.since == datetime(*since, tzinfo=timezone.utc)
    assert question.until == datetime(*until, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["on 2026-02-30", "in 2026", "version 1.2026-1", "may 2026x"])
def test_what_is_no_day_or_month_is_no_time(text: str) -> None:
    assert take_apart(text).since is None


def test_a_question_says_whether_it_asks_when_or_for_what_is_new() -> None:
    assert take_apart("When did we move to uv?").asks_when
    assert take_apart("in which month was it").asks_when
    assert not take_apart("what happens when it fails").asks_when
    assert take_apart("the latest decision on caching").lately
    assert not take_apart("the decision on caching").lately


@pytest.mark.parametrize(
    ("name", "kind"),
    [("decisions", "decision"), ("Gotcha", "gotcha"), ("observations", "observations"), ("stories", ""), ("", "")],
)
def test_kinds_are_known_by_singular_and_plural(name: str, kind: str) -> None:
    assert kind_named(name) == kind


@given(st.text(max_size=300))
def test_any_question_can_be_taken_apart(text: str) -> None:
    question = take_apart(text)

    for term in question.terms:
        expression = match_expression(question.phrases, term, "{body}", [["pabc"]])
        assert expression.count('"') % 2 == 0
        assert '""' not in expression


def test_scope_tokens_are_words_of_the_index() -> None:
    assert scope_token("p", "30cdbd4f-6acf") == "p30cdbd4f6acf"
    assert scope_token("k", "user-prompt") == "kuserprompt"


@given(st.text(max_size=2000), st.text(max_size=80), st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_a_snippet_is_short_and_from_the_text(text: str, title: str, words: list[str]) -> None:
    found = snippet(text, title, tuple(word.lower() for word in words))

    assert len(found) <= 322
    assert "\n" not in found
    assert found.strip("…") in " ".join(text.split())


def test_a_snippet_shows_the_evidence() -> None:
    text = "# Retry policy\n\n" + "Filler words here. " * 50 + "The needle is retried thrice. " + "More filler. " * 50

    assert "The needle is retried" in snippet(text, "Retry policy", ("needle",))
    assert snippet("# Retry policy\n\nThree attempts.", "Retry policy", ("retry",)).endswith("Three attempts.")
    assert snippet("# Retry policy\n\nA retry waits.", "Retry policy", ("retry",)) == "A retry waits."
    assert snippet("run the tests", "run the tests", ("tests",)) == "run the tests"


def test_a_snippet_knows_other_forms_of_a_word() -> None:
    text = "Filler words here. " * 50 + "The migration ran twice. " + "More filler. " * 50

    assert "migration ran" in snippet(text, "Log", ("migrations",))


@given(st.text(max_size=400), st.integers(min_value=0, max_value=100))
def test_a_clipped_text_is_within_its_budget(text: str, budget: int) -> None:
    clipped = clip(text, budget)

    assert tokens(clipped) <= budget
    assert clipped == text or text.startswith(clipped.removesuffix("…"))


def test_cjk_costs_a_token_a_character() -> None:
    assert tokens("abcd" * 10) == 10
    assert tokens("数据库") == 3
    assert tokens("") == 0
