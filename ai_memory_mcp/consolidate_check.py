"""What of a model's answer may stand in memory. Pure. The model may have obeyed whatever it read, so nothing in its
texts is believed: secrets go, marks and HTML are broken, links lead to pages and addresses that were there before."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from ai_memory_mcp.consolidate_model import LASTING, Answer
from ai_memory_mcp.digest import TITLE_LIMIT
from ai_memory_mcp.digest_model import Digest
from ai_memory_mcp.language import foreign
from ai_memory_mcp.markdown import slug
from ai_memory_mcp.prose import clip, defuse, unmarked, without_html
from ai_memory_mcp.redact import Redactor

BODY = 8_000  # characters of a page
LEAST = 12  # characters; what is shorter tells nothing
ITEMS, ITEM = 12, 500
TAGS, TAG = 5, 30
OUTCOME = 3
INVENTED = "(an address that is not in the record)"

_BLOCK = re.compile(r"^([ \t]{0,3}(`{3,}|~{3,}))(.*?)\n(.*?)(?:^[ \t]{0,3}\2[`~]*[ \t]*$|\Z)", re.S | re.M)
_SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.S)
_INFO = re.compile(r"(?!dataview)[A-Za-z0-9+#.-]{1,20}\Z", re.I)  # a plugin of Obsidian's runs what is called so
_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,20}://[^\s<>()\[\]`\"']+", re.I)
_AFTER = "/.,;:!?*_"  # what stands behind an address and is no part of it
_LINK = re.compile(r"(!?)\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]\(\s*<?([^()\s<>]*(?:\([^()\s]*\)[^()\s<>]*)*)>?[^()\n]*\)")
_DEFINITION = re.compile(r"^[ \t]{0,3}\[[^\]\n]+\]:.*$", re.M)
_WIKILINK = re.compile(r"!?\[\[([^\[\]\n|#]*)(?:#[^\[\]\n|]*)?(?:\|([^\[\]\n]*))?\]\]")
OUR_SECTIONS = re.compile(r"^#{1,6}[ \t]+(?:Sources?|See also)[ \t]*$.*", re.S | re.M | re.I)
_HEADING = re.compile(r"^#[ \t]+", re.M)


@dataclass(frozen=True)
class Checker:
    """Makes a model's texts harmless. `record` is all that the model was shown, `page_at` gives the path of the page
    that a link means ('' for none that it may mean), `source` the words whose language counts."""

    redactor: Redactor
    record: str
    page_at: Callable[[str], str]
    source: str = ""

    def line(self, text: str, limit: int) -> str:
        """Return one line of plain text; what renders it escapes Markdown."""
        flat = " ".join(self._shown(text).split())
        harmless = without_html(unmarked(defuse(self.redactor.text(flat))))
        return clip(_URL.sub(self._address, harmless), limit)

    def lines(self, texts: Iterable[str], limit: int = ITEMS) -> tuple[str, ...]:
        """Return the texts as lines, without empty ones and repetitions."""
        kept = dict.fromkeys(line for text in texts if (line := self.line(text, ITEM)))
        return tuple(kept)[:limit]

    def body(self, text: str) -> str:
        """Return the Markdown of a page, '' when it tells nothing."""
        text = self.redactor.text(self._shown(text))
        text = OUR_SECTIONS.sub("", unmarked(defuse(text)))
        text = clip(re.sub(r"\A(?:\s*-{3,}[ \t]*\n)+", "", text).strip(), BODY)
        parts, at = [], 0
        for block in _BLOCK.finditer(text):
            parts += [self._prose(text[at : block.start()]), self._block(block)]
            at = block.end()
        whole = "".join([*parts, self._prose(text[at:])]).strip()
        return whole if len(whole) >= LEAST else ""

    def tags(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Return tags: lower-case words joined by hyphens."""
        kept = dict.fromkeys(slug(self.line(text, TAG))[:TAG].strip("-") for text in texts if text.strip("# \t"))
        return tuple(tag for tag in kept if tag)[:TAGS]

    def foreign(self, text: str, also: str = "") -> str:
        """Return the language of a text where it is neither that of the source nor of another text, '' where it is."""
        return foreign(text, f"{self.source}\n\n{also}")

    def _shown(self, text: str) -> str:
        """Leave out characters that show nothing, half of surrogate pairs, and those that turn the direction."""
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
        joiners = "\u200c\u200d"  # several scripts are misspelt without them
        return "".join(
            char
            for char in text
            if char in "\n\t" + joiners or unicodedata.category(char) not in ("Cc", "Cf", "Co", "Cs")
        )

    def _block(self, block: re.Match[str]) -> str:
        """A code block as it stands, closed; its addresses must be known ones, too: people copy commands."""
        info = block[3].strip() if _INFO.match(block[3].strip()) else ""
        lines = block[4] if block[4].endswith("\n") else block[4] + "\n"
        return f"{block[1]}{info}\n{_URL.sub(self._address, lines)}{block[1]}"

    def _prose(self, text: str) -> str:
        parts, at = [], 0
        for span in _SPAN.finditer(text):
            parts += [self._words(text[at : span.start()]), _URL.sub(self._address, span[0])]
            at = span.end()
        return "".join([*parts, self._words(text[at:])])

    def _words(self, text: str) -> str:
        text = _HEADING.sub("## ", _DEFINITION.sub("", without_html(text)))
        text = _WIKILINK.sub(self._page, text)
        return _URL.sub(self._address, _LINK.sub(self._link, text))

    def _page(self, link: re.Match[str]) -> str:
        path = self.page_at(link[1].strip())
        label = (link[2] or link[1]).strip()
        return (f"[[{path}|{link[2].strip()}]]" if link[2] else f"[[{path}]]") if path else label

    def _link(self, link: re.Match[str]) -> str:
        image, label, target = link.groups()
        return link[0] if not image and _URL.match(target) and self._known(target) else label

    def _address(self, url: re.Match[str]) -> str:
        return url[0] if self._known(url[0]) else INVENTED

    def _known(self, url: str) -> bool:
        return url.lower().startswith(("http://", "https://")) and url.rstrip(_AFTER) in self._addresses

    @cached_property
    def _addresses(self) -> frozenset[str]:
        return frozenset(url.rstrip(_AFTER) for url in _URL.findall(self.record))


def kind_of(said: str) -> str:
    """Return the kind that a model means ('' for none that it may write): it may say it in the plural."""
    word = said.strip().lower()
    return word if word in LASTING else word[:-1] if word[:-1] in LASTING else ""


def better_digest(found: Digest, answer: Answer, check: Checker) -> Digest:
    """Return the digest by rule with the model's words for what it came to. What was counted and measured stays.

    A list that the model left empty is empty then, but for what is still to be done where a run failed last or the
    last request got no answer.
    """
    outcome = check.lines(answer.outcome, OUTCOME)
    if not outcome:
        return found
    steps = check.lines(answer.next_steps)
    unfinished = found.interrupted or any(run.ok is False for run in found.runs)
    failed = check.lines(answer.did_not_work)
    return found.model_copy(
        update={
            "headline": check.line(answer.headline, TITLE_LIMIT) or found.headline,
            "outcome": outcome,
            "done": check.lines(answer.done) or found.done,
            "completed": (),
            "decisions": check.lines(answer.decisions),
            "failures": () if failed else found.failures,
            "findings": failed or found.findings,
            "open_questions": check.lines(answer.open_questions),
            "next_steps": steps or (found.next_steps if unfinished else ()),
        }
    )
