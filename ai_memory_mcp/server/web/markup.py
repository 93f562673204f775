"""Markdown as safe HTML. Three walls: HTML in the text is shown, not obeyed; addresses are asked for their scheme; what
comes out passes a sanitiser that knows a few tags only.

Nothing is loaded from anywhere: a picture is shown as its words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any
from urllib.parse import unquote

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup, escape

from ai_memory_mcp.markdown import UNSEEN, slug

Resolve = Callable[[str], "str | None"]  # target of a link, as it is written -> address of its page

LONGEST = 200_000  # characters; more is shown as plain text
LONGEST_CODE = 20_000  # characters that are coloured
MOST_LINKS = 5_000  # brackets in a text that is read as Markdown
_UNSEEN = re.compile(f"[\x00-\x08\x0b-\x1f{UNSEEN}\ud800-\udfff\ufeff]")
_HEADINGS = tuple(f"h{level}" for level in range(1, 7))
_TAGS = set("p ul ol li pre code span em strong s a blockquote hr br table thead tbody tr th td".split()) | set(
    _HEADINGS
)
_ATTRIBUTES = {
    "a": {"href", "class", "title"},
    "span": {"class", "title"},
    "pre": {"class", "tabindex"},
    "code": {"class"},
    "th": {"class"},
    "td": {"class"},
    "ol": {"start"},
    **{heading: {"id"} for heading in _HEADINGS},
}
_WIKILINK = re.compile(r"\[\[([^\[\]\n|#]{1,300})(#[^\[\]\n|]{0,300})?(?:\|([^\[\]\n]{0,300}))?\]\]")


def clean(text: str) -> str:
    """Drop what cannot be seen or turns the direction of text: a page shows what it says."""
    return _UNSEEN.sub("", text)


def render(text: str, resolve: Resolve, title: str = "") -> Markup:
    """Return Markdown as HTML. A first heading that repeats the `title` is left out: it is shown above."""
    text = clean(text)
    if len(text) > LONGEST or text.count("[") > MOST_LINKS:
        return plain(text)
    try:
        html = _reader().render(text, {"resolve": resolve, "title": title, "ids": set()})
    except RecursionError:
        return plain(text)
    return Markup(nh3.clean(html, tags=_TAGS, attributes=_ATTRIBUTES, url_schemes={"http", "https", "mailto"}))


def plain(text: str) -> Markup:
    """Return text as it is."""
    return Markup('<pre class="plain" tabindex="0">{}</pre>').format(clean(text))


@cache
def _reader() -> MarkdownIt:
    reader = MarkdownIt("commonmark", {"html": False, "highlight": _highlight})
    reader.enable(["table", "strikethrough"])
    reader.inline.ruler.before("link", "wikilink", _wikilink)
    reader.core.ruler.push("ours", _ours)
    reader.add_render_rule("image", _image)
    return reader


def _highlight(code: str, language: str, _: str) -> str:
    """Return the HTML of fenced code, coloured where its language is known."""
    inner = _coloured(code, language) if language and len(code) <= LONGEST_CODE else ""
    return f'<pre class="code" tabindex="0"><code>{inner or escape(code)}</code></pre>'


def _coloured(code: str, language: str) -> str:
    from pygments import highlight
    from pygments.formatters.html import HtmlFormatter
    from pygments.lexers import get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language.lower(), stripnl=False)
    except ClassNotFound:
        return ""
    return str(highlight(code, lexer, HtmlFormatter(nowrap=True)))


def _wikilink(state: StateInline, silent: bool) -> bool:
    """Read `[[target#heading|label]]`."""
    if not state.src.startswith("[[", state.pos):
        return False
    found = _WIKILINK.match(state.src, state.pos)
    if found is None or found.end() > state.posMax:
        return False
    if not silent:
        target = found[1].rstrip("\\").strip()
        _link(state, state.env["resolve"](target), found[2] or "", found[3] or target + (found[2] or ""), target)
    state.pos = found.end()
    return True


def _link(state: StateInline, address: str | None, heading: str, label: str, target: str) -> None:
    tag = "a" if address else "span"
    begin = state.push("link_open", tag, 1)
    begin.meta = {"ours": True}
    if address:
        begin.attrs = {"href": address + _fragment(heading), "class": "wikilink"}
    else:
        begin.attrs = {"class": "missing", "title": f"There is no page {target}"}
    state.push("text", "", 0).content = label.strip()
    state.push("link_close", tag, -1)


def _fragment(heading: str) -> str:
    return f"#h-{slug(heading)}" if heading.strip("#") else ""


# --- after reading: headings, links, boxes, columns


def _ours(state: StateCore) -> None:
    _drop_title(state.tokens, state.env["title"])
    for number, token in enumerate(state.tokens):
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"  # the page's title is the first
        if token.type == "heading_open":
            token.attrSet("id", _heading_id(state.tokens[number + 1].content, state.env["ids"]))
        if token.type in ("th_open", "td_open"):
            side = str(token.attrs.pop("style", "")).rpartition(":")[2]
            token.attrs = {"class": side} if side else {}
        if token.type == "inline":
            _mend_links(token.children or [], state.env["resolve"])
            if number > 1 and state.tokens[number - 2].type == "list_item_open":
                _box(token.children or [])


def _drop_title(tokens: list[Token], title: str) -> None:
    if len(tokens) > 2 and tokens[0].type == "heading_open" and tokens[1].content.strip() == title.strip() != "":
        del tokens[:3]


def _heading_id(text: str, taken: set[str]) -> str:
    base = ident = f"h-{slug(text)}"
    number = 1
    while ident in taken:
        number += 1
        ident = f"{base}-{number}"
    taken.add(ident)
    return ident


def _mend_links(tokens: Sequence[Token], resolve: Resolve) -> None:
    """Lead links to pages; of others only those that say where they lead stay links."""
    for opened, closed in _pairs(tokens):
        if opened.meta.get("ours"):
            continue
        target = str(opened.attrs.get("href", ""))
        attributes = _address(target, resolve)
        opened.attrs = attributes
        opened.tag = closed.tag = "a" if "href" in attributes else "span"


def _pairs(tokens: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    opened: list[Token] = []
    for token in tokens:
        if token.type == "link_open":
            opened.append(token)
        elif token.type == "link_close" and opened:
            yield opened.pop(), token


def _address(target: str, resolve: Resolve) -> dict[str, str | int | float]:
    """Return the attributes of a Markdown link."""
    path, _, heading = unquote(target).partition("#")
    if re.match(r"(https?://|mailto:)[^/\s]", target, re.I):
        return {"href": target, "class": "external", "title": clean(unquote(target))}
    if not path and heading:
        return {"href": _fragment(heading)}
    found = resolve(path) if path.endswith(".md") and ":" not in path else None
    if found:
        return {"href": found + _fragment(heading), "class": "wikilink"}
    return {"class": "missing", "title": f"leads to {clean(unquote(target))}"}


def _box(children: Sequence[Token]) -> None:
    """Show the box of a to-do item."""
    first = children[0] if children else None
    if first is not None and first.type == "text" and re.match(r"\[[ xX]\] ", first.content):
        first.content = ("☐ " if first.content[1] == " " else "☑ ") + first.content[4:]


def _image(self: Any, tokens: Sequence[Token], number: int, options: Any, env: Any) -> str:
    """Show a picture as its words: nothing is fetched."""
    token = tokens[number]
    told, address = token.content or "picture", clean(unquote(str(token.attrs.get("src", ""))))
    return str(Markup('<span class="picture" title="{}">{}</span>').format(address, told))
