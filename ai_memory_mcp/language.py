"""In which language prose is written, as far as its letters and small words tell. Pure.

Code, addresses and names say nothing and are left out: a German sentence about `getUserName` is German. What cannot be
told is not guessed at: a text is foreign to another only where its language is clear and none of it is in the other.
"""

# ruff: noqa: E501 - lists of words are easier to check on one line
from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

from ai_memory_mcp.terms import CJK_RUN

LOOKED_AT = 200_000  # characters
LEAST = 12  # words of prose; of fewer nothing is said
MANY = 100  # words in which a language that is there has left some of its small words
CLEAR = 0.4  # share of a text that must speak for a language
SOME = 0.1  # share that is enough for a language that is there beside another
RUN_FOR = 5  # running words for each small word: about a fifth of a text are such
CJK_WORD = 2  # characters
OTHERS = 0.1  # of CJK characters that are kana or hangul: then the rest is Japanese or Korean as well

# Small words of one language that the others here have not, so that each speaks for one alone.
_SMALL = {
    word: language
    for language, words in {
        "English": "the and are were that this with not from which have has when they there should because been its would does into each only than then it we you what",
        "German": "der und nicht ist ein eine dem für auf wird werden sich auch von zu im bei nach aus wie wenn oder aber durch nur noch sind diese dieser einen einem wir ich hat haben keine",
        "French": "les est une dans pour qui pas sur avec sont cette aux être nous vous elle ce ces peut leur aucun aussi le du au",
        "Spanish": "el los las con más pero como cuando hay debe puede sin y fue del al esta lo ya",
        "Italian": "gli di che è per non della nel alla sono questo questa anche più delle nella essere viene può il",
        "Portuguese": "os não uma com são quando isso foi pelo pela à já pode nós você dos ao em do da um",
        "Dutch": "het een niet zijn wordt voor op dat ook aan door worden maar naar deze heeft geen uit kunnen van",
        "Swedish": "och att är inte för på av från inga finns ska som det till",
        "Polish": "nie się jest że przez dla oraz są być jak lub który tego można tylko od już przy",
    }.items()
    for word in words.split()
}
_BLOCK = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1|\Z)|`[^`\n]+`|\[\[[^\[\]\n]*\]\]", re.S | re.M)
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>()\[\]\"']+", re.I)
_TOKEN = re.compile(r"\S+")
_JOINT = re.compile(r"[\d_/\\=<>{}$#@|+]|\w\.\w|::|--|[a-z][A-Z]")
_WORD = re.compile(r"[^\W\d_]+")


def language_of(text: str) -> str:
    """Return the language of a text as one says it in English, of most scripts what can be said of the letters; ''
    where that is not clear."""
    return _clear(_shares(text)[0])


def foreign(text: str, source: str) -> str:
    """Return the language of a text that was made from a source in which there is none of it, '' for any other."""
    language, (shares, words) = language_of(text), _shares(source)
    known = _clear(shares) or words >= MANY
    return language if language and known and shares.get(language, 0.0) < SOME else ""


def _clear(shares: Mapping[str, float]) -> str:
    language = max(shares, key=lambda one: shares[one], default="")
    return language if shares.get(language, 0.0) >= CLEAR else ""


def _shares(text: str) -> tuple[dict[str, float], float]:
    """Return how much of a text speaks for each language, 1 for all of it, and how many words it has."""
    text = _ADDRESS.sub(" ", _BLOCK.sub(" ", text[:LOOKED_AT]))
    cjk = "".join(CJK_RUN.findall(text))
    tokens = (token for token in _TOKEN.findall(CJK_RUN.sub(" ", text)) if not _JOINT.search(token))
    words = _WORD.findall(" ".join(tokens).lower())
    total = len(words) + len(cjk) / CJK_WORD
    found = Counter[str]({_of_cjk(cjk): len(cjk) / CJK_WORD} if cjk else {})
    scripts = {letter: unicodedata.name(letter, "").partition(" ")[0] for letter in {word[0] for word in words}}
    for word in words:
        script = scripts[word[0]]
        language = _SMALL.get(word, "") if script == "LATIN" else f"a language in {script.title()} letters"
        if language:
            found[language] += RUN_FOR if script == "LATIN" else 1
    return {language: count / total for language, count in found.items()} if total >= LEAST else {}, total


def _of_cjk(characters: str) -> str:
    counted = Counter(
        "Japanese" if "\u3040" <= one <= "\u30ff" else "Korean" if "\uac00" <= one <= "\ud7af" else "Chinese"
        for one in characters
    )
    return next((one for one in ("Japanese", "Korean") if counted[one] >= OTHERS * len(characters)), "Chinese")
