"""Terms: the words of a text as the index holds them, the same for texts and for questions.

A word is lower case, without accents, contraction or ending (Snowball's English stems; an irregular form becomes its
base). A name in camelCase, snake_case or of letters and digits gives its parts and then itself without joints, so that
`getUserName` and `get_user_name` are one. A hash gives its first seven characters and itself. A run of Chinese,
Japanese or Korean gives its pairs of characters. Stop words are left out. The order is that of the text: who stands
beside whom is evidence.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from Stemmer import Stemmer

STOP_WORDS = frozenset(
    """
    a about above after again against all also am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once
    only or other our ours ourselves out over own same she should so some such than that the their theirs them
    themselves then there these they this those through to too under until up very was we were what when where which
    while who whom why will with would you your yours yourself yourselves
    """.split()
)
# What a question says of itself and not of its answer. Left out of questions only, and where anything else is there.
ASKING_WORDS = frozenset(
    """
    according another certain considered current currently ever kind kinds likely many mention mentioned mentions might
    much particular possibly regarding said say sort sorts tell
    """.split()
)
_IRREGULAR = """
    become:became begin:began,begun bend:bent bite:bit,bitten bind:bound blow:blew,blown break:broke,broken
    bring:brought build:built burn:burnt buy:bought catch:caught choose:chose,chosen come:came deal:dealt dig:dug
    draw:drew,drawn dream:dreamt drink:drank,drunk drive:drove,driven eat:ate,eaten fall:fell,fallen feed:fed
    feel:felt fight:fought find:found fly:flew,flown forget:forgot,forgotten forgive:forgave,forgiven
    freeze:froze,frozen get:got,gotten give:gave,given go:went,gone grow:grew,grown hang:hung hear:heard
    hide:hid,hidden hold:held keep:kept know:knew,known lay:laid lead:led leave:left lend:lent lose:lost make:made
    mean:meant meet:met overwrite:overwrote,overwritten pay:paid rebuild:rebuilt ride:rode,ridden ring:rang,rung
    rise:rose,risen run:ran see:saw,seen seek:sought sell:sold send:sent shake:shook,shaken shine:shone shoot:shot
    show:shown sing:sang,sung sink:sank,sunk sit:sat sleep:slept speak:spoke,spoken spend:spent spin:spun
    stand:stood steal:stole,stolen stick:stuck strike:struck swear:swore,sworn swim:swam,swum take:took,taken
    teach:taught tear:tore,torn think:thought throw:threw,thrown understand:understood wake:woke,woken
    wear:wore,worn win:won withdraw:withdrew,withdrawn write:wrote,written child:children foot:feet half:halves
    index:indices knife:knives leaf:leaves life:lives man:men matrix:matrices mouse:mice person:people shelf:shelves
    tooth:teeth wife:wives woman:women
"""
_BASE = {form: base for entry in _IRREGULAR.split() for base, forms in [entry.split(":")] for form in forms.split(",")}
_CJK = (
    "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
CJK_RUN = re.compile(f"[{_CJK}]+")
_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff"  # written on or after a letter
_WORD = re.compile(rf"[\w{_MARKS}]+")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+|\d+")
_CONTRACTED = re.compile(r"\b\w+n['’]t\b|(?<=\w)['’](?:s|m|re|ve|ll|d)\b", re.IGNORECASE)  # don't is all stop words
_SIGNED = re.compile(r"\b([A-Za-z])(\+\+|#)(?!\w)")  # C++, C#, F#: the sign makes the name
_SIGNS = {"++": "plusplus", "#": "sharp"}
_HASH = re.compile(r"(?:\d+[a-f]+\d|[a-f]+\d+[a-f])[\da-f]*", re.IGNORECASE)
_ACCENTS = re.compile("[\u0300-\u036f]+")
MANY_PARTS = 6  # a "name" of more parts is a number or a hash: it is found as a whole
ABBREVIATED = 7  # characters of a hash by which people call it
LONG = 80  # characters; a longer word is no word, and is found by its beginning
_KNOWN: dict[str, tuple[str, ...]] = {}  # word as written -> its terms
_MOST_KNOWN = 200_000


def terms(text: str) -> list[str]:
    """Return the terms of a text in their order, with repetitions."""
    found: list[str] = []
    known = _KNOWN
    for word in _WORD.findall(_plain(text)):
        made = known.get(word)
        found += _learn(word) if made is None else made
    return found


def spellings(text: str) -> set[str]:
    """Return the words of a text as they are written, in lower case: what a misspelt word may have meant.

    Of a name these are its parts and the name without its joints.
    """
    found = set()
    for word in _WORD.findall(_plain(text)):
        if word.isascii() and (bare := word.replace("_", "")).isalpha():
            found.add(bare.lower())
            if not (word.islower() and word.isalpha()):
                found.update(part.lower() for part in _PARTS.findall(word))
    return found


def words(text: str) -> list[str]:
    """Return the words of a text as they are written, in lower case, without stop words."""
    return [word for word in _WORD.findall(_plain(text).lower()) if word not in STOP_WORDS]


def last_characters(text: str) -> list[str]:
    """Return the last characters of the runs of CJK: with them in the index, every character begins a term."""
    if text.isascii():
        return []
    return list(dict.fromkeys(run[-1] for run in CJK_RUN.findall(unicodedata.normalize("NFKC", text)) if len(run) > 1))


def pairs(run: str) -> list[str]:
    """Return the overlapping pairs of a run of CJK characters (a single one stays itself)."""
    return [run] if len(run) == 1 else [run[i : i + 2] for i in range(len(run) - 1)]


def with_sign(word: str) -> str:
    """Return one of `words` as it stands in a text: C++ again."""
    return next((word[0] + sign for sign, name in _SIGNS.items() if word[1:] == name), word)


def _plain(text: str) -> str:
    """Return a text whose words `_WORD` finds: letters in one form, contractions cut, `C++` spelled out."""
    if "'" in text or "’" in text:
        text = _CONTRACTED.sub(" ", text)
    if "+" in text or "#" in text:
        text = _SIGNED.sub(lambda found: found.group(1) + _SIGNS[found.group(2)], text)
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def _learn(word: str) -> tuple[str, ...]:
    if len(_KNOWN) >= _MOST_KNOWN:
        _KNOWN.clear()
    made = tuple(term for term in _of_word(word) if term not in STOP_WORDS)
    if len(word) <= LONG and (word.isascii() or not CJK_RUN.search(word)):  # those come once, and are big
        _KNOWN[word] = made
    return made


def _of_word(word: str) -> list[str]:
    """Return the terms of one word as written, stop words among them."""
    if word.isascii():
        return _of_name(word)
    found = []
    start = 0
    for run in CJK_RUN.finditer(word):
        found += _of_name(word[start : run.start()])
        found += pairs(run.group())
        start = run.end()
    return [*found, *_of_name(word[start:])]


def _of_name(word: str) -> list[str]:
    """Return the stem of a plain word; the parts of a mixed name and the name without its joints."""
    if word.islower() and word.isalpha() and word.isascii():
        return [_stem(word[:LONG])]
    bare = (word if word.isascii() else _without_accents(word)).strip("_")[:LONG]
    if not bare.isascii():
        return bare.lower().replace("_", " ").split()
    if bare.isalpha() and (bare[1:].islower() or bare.isupper()):
        return [_stem(bare.lower())]
    if len(bare) >= ABBREVIATED and _HASH.fullmatch(bare):
        return list(dict.fromkeys((bare[:ABBREVIATED].lower(), bare.lower())))
    parts = [part.lower() for part in _PARTS.findall(bare)]
    if len(parts) < 2:
        return [_stem(part) for part in parts]
    whole = _stem(bare.lower().replace("_", ""))
    if len(parts) > MANY_PARTS:
        return [whole]
    return [*(_stem(part) for part in parts if len(part) > 1 or part.isdigit()), whole]


def _stem(word: str) -> str:
    if word in STOP_WORDS:
        return word
    base = _BASE.get(word, word)
    return str(_stemmer().stemWord(base)) if base.isascii() and base.isalpha() else base


def _without_accents(word: str) -> str:
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", word)))


@cache
def _stemmer() -> Stemmer:
    from Stemmer import Stemmer  # PyStemmer: the C code of Snowball, 12 times as fast as its Python translation

    return Stemmer("english")
