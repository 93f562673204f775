"""In which language a text is, and whether it could have been made from another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai_memory_mcp.language import foreign, language_of

TEXTS = {
    "English": "The upload is retried three times, and then it is given up. This was measured with the old server, "
    "which has a limit of its own, so nothing else would help.",
    "German": "Der Upload wird dreimal wiederholt und dann abgebrochen. Das wurde mit dem alten Server gemessen, der "
    "eine eigene Grenze hat, also hilft sonst nichts. Siehe auch die Notiz zu `getUserName`.",
    "French": "L'envoi est répété trois fois, puis il est abandonné. Cela a été mesuré avec l'ancien serveur, qui a "
    "une limite propre, et rien d'autre ne peut aider dans ce cas.",
    "Spanish": "El envío se repite tres veces y luego se abandona. Esto fue medido con el servidor antiguo, que tiene "
    "un límite propio, y por lo tanto nada más puede ayudar.",
    "Japanese": "アップロードは三回まで再試行し、その後は中止する。"
    "古いサーバーには独自の上限があるため、他の方法では解決しない。",
    "Chinese": "上传最多重试三次,然后放弃。这是在旧服务器上测量的,旧服务器有自己的限制,因此没有其他办法。",
    "Korean": "업로드는 세 번까지 다시 시도하고 그 다음에는 중단한다. "
    "오래된 서버에는 자체 제한이 있어서 다른 방법이 없다.",
    "a language in Cyrillic letters": "Загрузка повторяется три раза, затем прекращается. Это было измерено на старом "
    "сервере, у которого есть собственное ограничение.",
}
CODE = """
`retry_uploads`, `the_and_with_this`: src/upload.py, https://example.com/the/and/with

```python
# this is the code that was there and it would have been the same with each of the others
def retry(): ...
```
"""


@pytest.mark.parametrize("language", TEXTS)
def test_the_language_of_prose_is_told(language: str) -> None:
    assert language_of(TEXTS[language]) == language


@pytest.mark.parametrize("language", TEXTS)
def test_only_what_is_in_another_language_is_foreign(language: str) -> None:
    for other, text in TEXTS.items():
        assert foreign(text, TEXTS[language]) == ("" if other == language else other)


@pytest.mark.parametrize("language", TEXTS)
def test_code_names_and_addresses_are_of_no_language(language: str) -> None:
    mixed = TEXTS[language] + CODE
    assert language_of(mixed) == language
    assert foreign(mixed, TEXTS[language]) == ""
    assert foreign(TEXTS["English"], mixed) == ("" if language == "English" else "English")


def test_english_words_in_a_japanese_text_leave_it_japanese() -> None:
    text = "UploadManager の retry を config.toml で 3 に変更した。"
    text += "timeout は server 側の limit に合わせて 30 秒のままにする。"
    assert language_of(text) == "Japanese"
    assert foreign(text, TEXTS["Japanese"]) == ""


def test_in_a_source_of_two_languages_neither_is_foreign() -> None:
    both = TEXTS["German"] + "\n" + TEXTS["English"]
    assert foreign(TEXTS["German"], both) == foreign(TEXTS["English"], both) == ""


def test_english_is_foreign_to_a_long_text_of_a_language_that_is_not_known_by_name() -> None:
    finnish = (
        "Lataus yritetään kolme kertaa ja sen jälkeen se keskeytetään koska vanhalla palvelimella on oma rajansa. "
    )
    assert foreign(TEXTS["English"], finnish * 8) == "English"
    assert foreign(finnish * 8, finnish) == foreign(finnish, TEXTS["English"]) == ""


@pytest.mark.parametrize(
    "text", ["", "Fix tests.", "npm run build && npm test", "再試行", "`the` `and` `with`", "12 3.4 %"]
)
def test_of_few_words_nothing_is_said(text: str) -> None:
    assert language_of(text) == ""
    for source in TEXTS.values():
        assert foreign(text, source) == foreign(source, text) == ""


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_text_is_foreign_to_what_holds_it_in_plenty(one: str, other: str) -> None:
    assert foreign(one, f"{one}\n{other[:10]}\n{one}") in ("", language_of(one))
    assert foreign(one, one) == ""
