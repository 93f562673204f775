"""Words of texts and questions, without an index."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.ranking import clip, extra_terms, kind_named, match_expression, snippet, take_apart, tokens


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("How do we retry?", ("retry",)),
        ("what is this", ("what", "is", "this")),  # only stop words: better than nothing
        ("getUserName", ("getusername", "user", "name")),
        ("max_retry_count", ("max", "retry", "count")),
        ("src/app/main.py", ("src", "app", "main", "py")),
        ("error E0308", ("error", "e0308", "0308")),
        ("数据库迁移", ("数据", "据库", "库迁", "迁移")),
        ("Pythonの設定", ("の設", "設定", "python")),
        ("don't", ("don", "t")),
        ("?!… 🎉", ()),
    ],
)
def test_a_question_gives_its_telling_words(text: str, terms: tuple[str, ...]) -> None:
    assert take_apart(text).terms == terms


def test_filters_are_taken_out_of_the_question() -> None:
    question = take_apart(
        'retry kind:decisions agent:codex path:"src/my app/" before:2026-02-01 after:2026-01-01T10:00:00'
    )

    assert question.terms == ("retry",)
    assert (question.kinds, question.agent, question.path) == (("decision",), "codex", "src/my app/")
    assert question.before == datetime(2026, 2, 1, tzinfo=timezone.utc)
    assert question.after == datetime(2026, 1, 1, 10, tzinfo=timezone.utc)


@pytest.mark.parametrize("text", ["before:lunch", "kind:of", "foo:bar", "std::vector", "http://x.y", "path:"])
def test_what_only_looks_like_a_filter_is_words(text: str) -> None:
    question = take_apart(text)

    assert question.terms
    assert not (question.kinds)
    assert not (question.path)
    assert not (question.before)
    assert not (question.after)


def test_quoted_words_are_required_together() -> None:
    question = take_apart('why "connection pool" and "数据库 lock" exist')

    assert question.phrases == ("connection pool", "lock", "数据", "据库")
    assert match_expression(question, []).startswith('{title body terms}:("connection pool" AND "lock" AND')


def test_neighbouring_words_count_more_together() -> None:
    assert take_apart("the connection pool of workers").pairs == (("connection", "pool"), ("pool", "workers"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("decisions", "decision"), ("Gotcha", "gotcha"), ("observations", "observations"), ("stories", ""), ("", "")],
)
def test_kinds_are_known_by_singular_and_plural(name: str, kind: str) -> None:
    assert kind_named(name) == kind


def test_names_are_indexed_in_parts() -> None:
    assert set(extra_terms("call getUserName and parseHTTPResponse2").split()) >= {
        "user",
        "name",
        "parse",
        "response",
        "2",
    }
    assert extra_terms("plain words only") == ""


def test_mixed_scripts_are_indexed_apart() -> None:
    assert set(extra_terms("Pythonの設定").split()) == {"python", "の設", "設定", "定"}


@given(st.text(max_size=300))
def test_any_question_can_be_taken_apart(text: str) -> None:
    question = take_apart(text)
    expression = match_expression(question, ["pabc"])

    assert (expression == "") == (not question.terms and not question.phrases)
    assert expression.count('"') % 2 == 0


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
