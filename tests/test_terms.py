"""Terms: the same for texts and questions, whatever the writing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.terms import STOP_WORDS, last_characters, pairs, spellings, terms, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("We migrated the caches", ["migrat", "cach"]),
        ("the children went home", ["child", "go", "home"]),
        ("getUserName", ["get", "user", "name", "getusernam"]),
        ("get_user_name", ["get", "user", "name", "getusernam"]),
        ("MAX_RETRY_COUNT", ["max", "retri", "count", "maxretrycount"]),
        ("parseHTTPResponse", ["pars", "http", "respons", "parsehttprespons"]),
        ("__init__", ["init"]),
        ("src/app/main.py", ["src", "app", "main", "py"]),
        ("error[E0308]", ["error", "0308", "e0308"]),
        ("a1b2c3d4e5f6", ["a1b2c3d", "a1b2c3d4e5f6"]),  # a hash is found as a whole and abbreviated
        ("A1B2C3D", ["a1b2c3d"]),
        ("facade2024", ["facad", "2024", "facade2024"]),
        ("C++ and C# and F#", ["cplusplus", "csharp", "fsharp"]),
        ("it's don't Ann's", ["ann"]),
        ("数据库迁移", ["数据", "据库", "库迁", "迁移"]),
        ("Pythonの設定", ["python", "の設", "設定"]),
        ("데이터베이스 연결", ["데이", "이터", "터베", "베이", "이스", "연결"]),
        ("Zürich CAFÉ naïve", ["zurich", "cafe", "naiv"]),
        ("हिन्दी Привет", ["हिन्दी", "привет"]),
        ("ＦＵＬＬ ﬁle", ["full", "file"]),
        ("the of and", []),
        ("🎉 ?! \x00", []),
    ],
)
def test_a_text_gives_its_terms_in_order(text: str, found: list[str]) -> None:
    assert terms(text) == found


@given(st.text(max_size=300))
def test_every_term_is_one_word_of_the_index(text: str) -> None:
    for term in terms(text):
        assert term == term.strip()
        assert term
        assert not set(term) & set(' "*+-:(){}^')
        assert term not in STOP_WORDS


@given(st.text(max_size=100), st.text(max_size=100))
def test_texts_side_by_side_give_the_terms_of_both(one: str, other: str) -> None:
    assert terms(f"{one}\n{other}") == terms(one) + terms(other)


def test_words_are_kept_as_they_are_written() -> None:
    assert words("The migrated caches of Ann's") == ["migrated", "caches", "ann"]
    assert spellings("Migrated caches, E0308 数据") == {"migrated", "caches"}
    assert spellings("invoice_writer HTTPClient") == {
        "invoicewriter",
        "invoice",
        "writer",
        "httpclient",
        "http",
        "client",
    }


def test_the_last_character_of_a_run_begins_a_term_too() -> None:
    assert last_characters("数据库 and 連接 x") == ["库", "接"]
    assert last_characters("plain") == []
    assert pairs("数") == ["数"]
