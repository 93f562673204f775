"""What a repository's files are and say of themselves: READMEs and instructions, documents, decision records, the
heads of modules.

Pure: names and texts in, values out. Texts come from anybody: what goes into a page passes `prose` or `page_text`.
"""

# ruff: noqa: E501 - patterns are easier to check on one line
from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping

from ai_memory_mcp import markdown
from ai_memory_mcp.prose import clip, code, defuse, inline, without_html

NAMES = 10  # definitions that are named of a module
NESTED = 12  # instructions below the root, and of a folder of rules
INSTRUCTIONS = (
    *(
        "AGENTS.md",
        "CLAUDE.md",
        "GEMINI.md",
        ".cursorrules",
        ".windsurfrules",
        ".clinerules",
        ".github/copilot-instructions.md",
    ),
    *(
        "CONTRIBUTING.md",
        "CONTRIBUTING.rst",
        ".github/CONTRIBUTING.md",
        "docs/CONTRIBUTING.md",
        "docs/contributing.md",
        "docs/contributing.rst",
    ),
)
_INSTRUCTION_FOLDERS = (".cursor/rules/", ".clinerules/", ".github/instructions/")
_WRITTEN = r"\.(?:md|markdown|rst|adoc|txt)$"
_README = re.compile(r"(?:^|/)readme(?:\.(?:md|markdown|rst|txt|adoc))?$", re.I)
_DOC = re.compile(rf"^(?:(?:docs?|documentation|\.github)/.+|[^/]+){_WRITTEN}", re.I)
_NO_DOC = re.compile(
    r"(?:^|/)(?:licen[sc]e|copying|unlicense|notice|authors|contributors|codeowners|requirements|cmakelists|robots|manifest|changes|changelog|history|news|readme|issue_template|pull_request_template|code_of_conduct)[^/]*$|_template/|/requirements",
    re.I,
)
_DECISION = re.compile(
    rf"(?:^|/)(?:adrs?|decisions|rfcs?|decision-records|architecture-decisions)/(?!(?:index|readme|template|0+-template)\.)[^/]+{_WRITTEN}",
    re.I,
)
_CHANGES = re.compile(rf"^(?:docs/)?(?:changes|changelog|history|news|releases?)(?:{_WRITTEN}|$)", re.I)
_PILLAR = re.compile(
    rf"^(?:docs?/)?(?:architecture|design|hacking|development|developing|developer-guide|overview|internals){_WRITTEN}",
    re.I,
)
_ASIDE = re.compile(
    r"(?:^|/)(?:tests?|spec|specs|__tests__|testdata|fixtures|examples?|samples?|benches|benchmarks?|migrations|locale|generated)/|(?:_test|\.test|\.spec|_spec|\.min|\.d)\.\w+$|(?:^|/)test_"
)
_LANGUAGES = {
    "py": "Python", "js": "JavaScript", "mjs": "JavaScript", "cjs": "JavaScript", "jsx": "JavaScript", "ts": "TypeScript", "tsx": "TypeScript",
    "rs": "Rust", "go": "Go", "java": "Java", "kt": "Kotlin", "rb": "Ruby", "php": "PHP", "cs": "C#", "c": "C", "h": "C",
    "cc": "C++", "cpp": "C++", "hpp": "C++", "swift": "Swift", "scala": "Scala", "ex": "Elixir", "exs": "Elixir",
    "sh": "Shell", "sql": "SQL", "vue": "Vue", "svelte": "Svelte", "dart": "Dart", "lua": "Lua", "zig": "Zig", "hs": "Haskell",
}  # fmt: skip
_DEFINED = {
    "Python": re.compile(r"^(?:class|def|async def)[ \t]+([A-Za-z]\w*)", re.M),
    "Rust": re.compile(r"^pub (?:struct|enum|trait|fn|type|macro)[ \t]+(\w+)", re.M),
    "Go": re.compile(r"^(?:func|type)[ \t]+(?:\([^)]*\)[ \t]*)?([A-Z]\w*)", re.M),
    **dict.fromkeys(
        ("JavaScript", "TypeScript"),
        re.compile(r"^export (?:default )?(?:abstract )?(?:async )?(?:class|function\*?|const|interface|type|enum)[ \t]+(\w+)", re.M),
    ),
    **dict.fromkeys(
        ("Java", "Kotlin", "C#", "Swift", "Scala", "PHP"),
        re.compile(r"^(?:(?:public|open|final|abstract|sealed|data|static|internal|partial) )*(?:class|interface|enum|struct|protocol|trait|record|object)[ \t]+(\w+)", re.M),
    ),
    "Ruby": re.compile(r"^[ \t]{0,2}(?:class|module)[ \t]+([A-Z][\w:]*)", re.M),
}  # fmt: skip


# --- which files there are


def language_of(name: str) -> str:
    """Return the programming language of a file by its ending, '' for none."""
    return _LANGUAGES.get(name.rpartition(".")[2].lower(), "") if "." in name else ""


def aside(name: str) -> bool:
    """Tell whether a file is a test, an example, a fixture or made by a tool."""
    return bool(_ASIDE.search(name))


def readmes(names: Iterable[str]) -> list[str]:
    """Return the READMEs, that of the root first."""
    return _outside_in(name for name in names if _README.search(name) and (not aside(name) or name.count("/") < 3))


def instructions(names: Iterable[str]) -> list[str]:
    """Return the files that tell agents and contributors how to work here."""
    known = set(names)
    found = [name for name in INSTRUCTIONS if name in known]
    nested = sorted(name for name in known if posixpath.basename(name) in ("AGENTS.md", "CLAUDE.md") and "/" in name)
    rules = sorted(name for name in known if name.startswith(_INSTRUCTION_FOLDERS))
    return [*found, *rules[:NESTED], *nested[:NESTED]]


def pillars(names: Iterable[str]) -> list[str]:
    """Return the documents on how it all fits together."""
    return _outside_in(name for name in names if _PILLAR.match(name))


def decision_records(names: Iterable[str]) -> list[str]:
    """Return the decision records (ADRs, RFCs), the newest, by their numbers or dates, first."""
    return sorted((name for name in names if _DECISION.search(name) and not aside(name)), reverse=True)


def changelogs(names: Iterable[str]) -> list[str]:
    """Return the lists of changes, the best first."""
    return _outside_in(name for name in names if _CHANGES.match(name))


def docs(names: Iterable[str]) -> list[str]:
    """Return the other documents at the root and below docs/, the nearest to the root first."""
    return _outside_in(
        name for name in names if _DOC.match(name) and not _NO_DOC.search(name) and not _DECISION.search(name)
    )


def _outside_in(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.count("/"), name.lower()))


# --- what a document says

_HEADING = re.compile(r"^(#{1,4})[ \t]+(.+?)[ \t]*#*$|^(?!\s*$)([^\n]{1,120})\n([=\-~^*+#\"])\4{2,}[ \t]*$", re.M)
_OVERLINE = re.compile(r"^([=\-~^*+#])\1{3,}[ \t]*\n(?=[^\n]+\n\1{3,}[ \t]*$)", re.M)
_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1[^\n]*$", re.M | re.S)
_DIRECTIVE = re.compile(r"^\.\. [^\n]*(?:\n(?:[ \t]+[^\n]*)?(?=\n|\Z))*", re.M)
_BADGE = re.compile(r"^\s*(?:\[?!\[|<|\||[-=~*]{3,}|:\w+:|---|\[[^\]]+\]:)")
_ROLE = re.compile(r":[\w:.-]+:`(?:([^`<]+?)\s*<[^`>]*>|[~!.]?([^`]+))`")
_REFERENCE = re.compile(
    r"`([^`<]+?)(?:\s*<[^`>]*>)?`__?|\|([^|\s][^|]*)\|_{0,2}|(?<!\w)\[([^\]\n]+)\]\[[^\]\n]*\]|(?<![\w\]!])\[([^\]\n]+)\](?![\w(:])"
)
_CONTENTS = re.compile(r"\s*(?:[-*+]|\d+\.)\s+\[[^\]]*\]\(#")  # a table of them
_HTML_HEADING = re.compile(r"<h([1-4])\b[^>]*>(.*?)</h\1>", re.S | re.I)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def body_of(text: str) -> str:
    """Return a document without front matter."""
    return markdown.parse(text)[1] if text.startswith("---\n") else text


def lead(text: str) -> str:
    """Return the first paragraph of a document (Markdown, reStructuredText) that says something, in plain words."""
    body = re.sub(r"<!--.*?-->", "", _without_code(text), flags=re.S)
    body = _HEADING.sub("", _OVERLINE.sub("", _DIRECTIVE.sub("", body)))
    for part in re.split(r"\n\s*\n", body):
        if all(_CONTENTS.match(line) for line in part.strip().split("\n")):
            continue
        said = " ".join(line.strip() for line in part.split("\n") if line.strip() and not _BADGE.match(line))
        said = plain(said).lstrip("> ")
        if len(said) > 30 and re.search(r"[^\W\d_]{3} ", said):
            return said
    return ""


def headings(text: str) -> list[str]:
    """Return the headings of a document in plain words."""
    found = (told[2] or told[3] for told in _HEADING.finditer(_DIRECTIVE.sub("", _without_code(text))))
    said = (plain(one.strip()) for one in found)
    return [one for one in said if re.search(r"[^\W_]", one) and not one.startswith(("|", "<"))]


def plain(text: str) -> str:
    """Return a line without the marks of links, roles and emphasis."""
    said = _ROLE.sub(lambda told: f"`{told[1] or told[2]}`", _LINK.sub(r"\1", text))
    said = _REFERENCE.sub(lambda told: next(filter(None, told.groups()), ""), said)
    said = re.sub(r"</?\w[^>\n]*>", "", said.replace("**", "").replace("``", "`"))
    return re.sub(r"\s+", " ", re.sub(r"::$", ":", said)).strip()


def _without_code(text: str) -> str:
    body = _CODE_BLOCK.sub("", body_of(text))
    return _HTML_HEADING.sub(lambda told: f"\n{'#' * int(told[1])} {' '.join(told[2].split())}\n", body)


_HTML_LINE = re.compile(r"^\s*(?:</?[a-zA-Z!][^\n]*>\s*)+$")
_RELATIVE = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!\w+:|#|/)([^)\s#]+\.(?:md|markdown))(?:#[^)\s]*)?\)")


def page_text(text: str, limit: int) -> str:
    """Return a document as the text of a page: HTML and our own marks broken, links to files of the repository as
    their names, cut at `limit` characters."""
    kept, fenced = [], False
    for line in re.sub(r"<!--.*?-->", "", body_of(text), flags=re.S).split("\n"):
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        if fenced:
            kept.append(line)
        elif not _HTML_LINE.match(line):
            kept.append(without_html(_RELATIVE.sub(r"\1 (`\2`)", line)))
    body = re.sub(r"\n{3,}", "\n\n", defuse("\n".join(kept))).strip()
    cut = clip(body, limit)
    open_fence = sum(line.lstrip().startswith("```") for line in cut.split("\n")) % 2
    return f"{cut}\n```" if open_fence else cut


def newest_changes(text: str, limit: int) -> str:
    """Return the beginning of a list of changes: the newest releases, as many as fit."""
    body = page_text(text, 4 * limit)
    starts = [told.start() for told in re.finditer(r"^(?:##? |Version |v?\d+\.\d+[^\n]*\n[-=])", body, re.M)]
    fitting = [start for start in starts[2:] if start <= limit]
    return body[: fitting[-1]].strip() if fitting else clip(body, limit)


# --- modules


def module_line(name: str, text: str) -> str:
    """Return what a source file says of itself and the names that it defines, as Markdown; '' for neither."""
    said, pattern = inline(module_head(name, text), 240), _DEFINED.get(language_of(name))
    found = dict.fromkeys(one for one in pattern.findall(text) if one[0] != "_") if pattern else {}
    shown = ", ".join(code(one, 80) for one in list(found)[:NAMES])
    rest = f" and {len(found) - NAMES} more" if len(found) > NAMES else ""
    defines = f"defines {shown}{rest}" if found else ""
    return f"{said} ({defines})" if said and defines else said or defines


def module_head(name: str, text: str) -> str:
    """Return what a source file says of itself at its top: docstring or leading comment; '' where it says nothing."""
    language, text = language_of(name), text[:4_000].lstrip("\ufeff")
    found = _docstring(text) if language == "Python" else _comment(text, _MARKS.get(language, _MARKS[""]))
    paragraphs = (re.sub(r"\s+", " ", _UNDERLINE.sub("", part)).strip() for part in re.split(r"\n\s*\n", found))
    said = next((part for part in paragraphs if len(part) >= 12 and not _is_legal(part)), "")
    return "" if said and said.strip("/* ").rstrip(".").endswith(posixpath.basename(name)) else plain(said)


_UNDERLINE = re.compile(r"^[=\-~^*]{3,}[ \t]*$", re.M)
_MARKS: Mapping[str, str] = {  # how a line of a comment about the whole module begins
    "Rust": r"//!",
    "Python": r"#(?!!)",
    "Ruby": r"#(?!!)",
    "Shell": r"#(?!!)",
    "Elixir": r"#",
    "SQL": r"--",
    "Lua": r"--+",
    "Haskell": r"--+",
    "": r"//[/!]?",
}


def _docstring(text: str) -> str:
    try:
        return ast.get_docstring(ast.parse(text)) or ""
    except (SyntaxError, ValueError, RecursionError):  # the beginning of a file need not parse
        told = re.match(r'(?:\s*(?:#[^\n]*)?\n)*\s*[rRuU]?("""|\'\'\')(.*?)\1', text, re.S)
        return told[2].strip() if told else ""


def _comment(text: str, mark: str) -> str:
    """Return the comment at the top of a file; the one behind a licence, where that is the first."""
    said: list[str] = []
    for block in _comments(text, mark):
        said.append(block)
        if not _is_legal(block):
            break
    return "\n\n".join(said)


def _comments(text: str, mark: str) -> Iterator[str]:
    rest = re.sub(r"^(?:#![^\n]*\n|<\?php\s*|['\"]use (?:strict|client|server)['\"];?\s*|\s+)+", "", text)
    lines = re.compile(rf"(?:{mark}[^\n]*(?:\n|\Z))+")
    while True:
        block = re.match(rf"/\*{'!' if mark == '//!' else '[*!]?'}(.*?)\*/", rest, re.S) if mark[0] == "/" else None
        run = None if block else lines.match(rest)
        if block:
            yield "\n".join(re.sub(r"^[ \t]*\*?[ \t]?", "", line) for line in block[1].split("\n"))
            rest = rest[block.end() :].lstrip()
        elif run:
            yield "\n".join(re.sub(rf"^{mark}[ \t]?", "", line) for line in run[0].split("\n"))
            rest = rest[run.end() :].lstrip()
        else:
            return


def _is_legal(text: str) -> bool:
    return bool(re.search(r"copyright|licen[sc]e|spdx|all rights reserved|eslint|@ts-|generated|coding[:=]|vim:|shellcheck", text[:300], re.I))  # fmt: skip
