"""Entities: the things that a text names exactly (files, flags, settings, symbols, numbered things). Pure.

A word of prose is none: it may mean anything. Whoever compares names compares them without regard to case, and by
`has_name`, so that `upload.py` is found in `src/upload.py` and `ttl` is not found in `ttl_max`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

SHORTEST, LONGEST = 3, 120  # characters of a name
_LINK = re.compile(r"!?\[\[[^\[\]\n]*\]\]")  # a page of ours, which is linked and not talked of
_SPAN = re.compile(r"(?<!`)`([^`\s]+)`(?!`)")
_WORD = re.compile(r"(?:(?<![\w-])--?)?[~@.]?/?\w[\w./:@-]*")
_FLAG = re.compile(r"--[A-Za-z][\w-]+\Z")
_PATH = re.compile(r"(?:[~.@]?/)?[\w.@-]+(?:/[\w.@-]+)*/[\w@-]*(?:\.\w+)+\Z|[~.@]?/?[\w.@-]+(?:/[\w.@-]+){2,}\Z")
_DOTTED = re.compile(r"[A-Za-z_][\w-]+(?:(?:\.|::|:)[A-Za-z_][\w-]*)+\Z")
_SYMBOL = re.compile(r"\w*(?:[^\W_]_+[^\W_]|[a-z][A-Z]|[A-Z]{2}[a-z])\w*\Z")
_NUMBERED = re.compile(r"(?=[\w.-]*\d)(?=[\w.-]*[A-Za-z])[\w.-]+\Z")  # v1.2, http2, ABC-123


def entities(text: str, limit: int) -> list[str]:
    """Return the first names in a text, each once, as they stand there."""
    found: dict[str, str] = {}
    for name in _named(_LINK.sub(" ", text)):
        if SHORTEST <= len(name) <= LONGEST and any(map(str.isalpha, name)):
            found.setdefault(name.casefold(), name)
        if len(found) == limit:
            break
    return list(found.values())


def has_name(text: str, name: str) -> bool:
    """Tell whether a text has a name, also as the end of a longer path."""
    pattern = rf"(?<![\w-]){re.escape(name)}(?![\w/]|-\w|\.\w|::)"
    return bool(re.search(pattern, text, re.IGNORECASE))


def _named(text: str) -> Iterator[str]:
    at = 0
    for span in _SPAN.finditer(text):
        yield from _words(text[at : span.start()])
        yield span[1].strip(".,:;()[]{}\"'")
        at = span.end()
    yield from _words(text[at:])


def _words(text: str) -> Iterator[str]:
    for word in _WORD.findall(text):
        name = word.rstrip("./:@-")
        if len(name) <= LONGEST and any(form.match(name) for form in (_FLAG, _PATH, _DOTTED, _SYMBOL, _NUMBERED)):
            yield name
