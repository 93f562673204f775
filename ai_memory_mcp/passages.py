"""Passages: a long text in stretches of some hundred words, so that it is found, scored and shown by its best part."""

from __future__ import annotations

PASSAGE = 4_000  # characters: a session of ordinary length stays whole
PIECE = 500  # characters that are embedded together: small models read little more, and one vector says one thing best
MOST = 4_000  # passages of one text; what follows is found by nothing (16 million characters: no page is so long)


def passages(text: str, most: int = PASSAGE) -> list[str]:
    """Cut a text at headings, empty lines, lines or spaces into stretches of at most so many characters."""
    found: list[str] = []
    start = 0
    while len(text) - start > most and len(found) < MOST - 1:
        end = _cut(text, start + most // 2, start + most)
        found.append(text[start:end])
        start = end
    found.append(text[start : start + most])
    return found


def pieces(text: str) -> list[str]:
    """Cut a text into the stretches whose meaning is compared with a question's."""
    return passages(text, PIECE)


def _cut(text: str, low: int, high: int) -> int:
    """Return the best place to cut between two positions; as late as possible among the equally good."""
    for mark in ("\n# ", "\n## ", "\n\n", "\n", ". ", " "):
        place = text.rfind(mark, low, high)
        if place >= 0:
            return place + (1 if mark.startswith("\n") else len(mark))
    return high
