"""Lint: what is wrong with the pages of a project by rule, what can be mended without anybody looking, and the report.

The rules are in `lint_rules`; they see what is gathered here and change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from ai_memory_mcp import contradictions, evicting, markdown
from ai_memory_mcp.errors import InputError
from ai_memory_mcp.index import upkeep
from ai_memory_mcp.lint_rules import RULES, Remark, Rule, Shelf
from ai_memory_mcp.model import Finding, LintReport, Page, Project
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.settle import handoff_lock

REPORT = "_lint/report.md"
FIX = "ai-memory-mcp lint --fix"
INSTRUCTIONS = ("AGENTS.md", "CLAUDE.md")  # what most agents read of a repository at every start
LISTED = 100  # findings of one rule in the report
_TITLES = {"error": "Errors", "warning": "Warnings", "hint": "Hints"}
Found = tuple[Rule, Remark]


class Texts(Mapping[str, str]):
    """The texts of pages, each read when asked for; a page that is gone says nothing."""

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self._folder, self._paths = folder, paths

    def __getitem__(self, path: str) -> str:
        try:
            return (self._folder / path).read_bytes().decode("utf-8", "replace")
        except OSError:
            return ""

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def rules_named(names: Sequence[str]) -> tuple[Rule, ...]:
    """Return these rules (all where none is named), in the order of the table. Raises InputError."""
    known = {rule.name for rule in RULES}
    for name in names:
        if name not in known:
            raise InputError(f"there is no rule '{name}'; known are {', '.join(rule.name for rule in RULES)}")
    return tuple(rule for rule in RULES if not names or rule.name in names)


def lint(
    res: Resources,
    project: Project,
    redactor: Redactor,
    *,
    root: str,
    now: datetime,
    rules: Sequence[str] = (),
    fix: bool = False,
    report: bool = False,
) -> LintReport:
    """Look at all pages by these rules; with `fix` mend what is safe, with `report` write the page that tells it.

    Both are one commit, and none where nothing changes. `root` is the repository's folder, '' where it is not here.
    """
    chosen = rules_named(rules)
    look = shelf(res, project, redactor, root=root, now=now)
    found = [(rule, remark) for rule in chosen for remark in rule.find(look)]
    with handoff_lock(res, project):  # nobody accepts a handoff that is being mended
        texts, fixed = mended(look, found) if fix else ({}, [])
        left = [one for one in found if one not in fixed]
        told = tuple(_finding(*one, redactor) for one in left)
        if report:
            texts |= _report_page(project, look.texts[REPORT], told, now)
        if texts:
            counts = Counter(rule.name for rule, _ in fixed)
            did = ", ".join(f"{count} {name}" for name, count in counts.items())
            message = f"Lint: mend {did}" if did else "Lint: report"
            gone = [look.pages[path] for path, text in texts.items() if text is None]
            evicting.save(res, project, texts, message, gone, now=now)
    return LintReport(
        project=project.name,
        pages=sum(1 for page in look.pages.values() if page.kind != "lint"),
        findings=told,
        fixed=tuple(_finding(*one, redactor) for one in fixed),
        report=REPORT if report else "",
    )


def shelf(res: Resources, project: Project, redactor: Redactor, *, root: str, now: datetime) -> Shelf:
    """Gather what the rules look at: from the index; texts are read when a rule asks for them."""
    judged = contradictions.known(res, project)
    with res.index.read() as db:
        every = upkeep.pages(db, project.id)
        found = {path: page for path, (page, _) in every.items() if page.kind != "lint"}
        current = {path for path, page in found.items() if page.status == "current" and page.kind != "index"}
        links = {source: told for source, told in upkeep.links(db, project.id).items() if source in current}
        broken = [(source, link.target) for source, told in links.items() for link in told if not link.path]
        moved = {(source, target): upkeep.moved_to(db, project.id, source, target) for source, target in broken}
        old = [page for page in found.values() if page.status == "superseded"]
        successors = {page.path: upkeep.successor(db, page) for page in old}
        return Shelf(
            now=now,
            redactor=redactor,
            pages=found,
            texts=Texts(res.wiki(project).folder, list(found)),
            sizes={path: size for path, (_, size) in every.items()},
            links=links,
            moved=moved,
            successors=successors,
            uses=upkeep.uses(db, project.id),
            verdicts=upkeep.verdicts(db, project.id),
            judged=judged,
            instructions=_instructions(root),
        )


def _instructions(root: str) -> str | None:
    if not root or not Path(root).is_dir():
        return None
    told = (Path(root) / name for name in INSTRUCTIONS)
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in told if path.is_file())


def mended(look: Shelf, found: Sequence[Found]) -> tuple[dict[str, str | None], list[Found]]:
    """Return the texts of mended pages (None: it is to go), and the remarks that this does away with."""
    texts: dict[str, str | None] = {}
    done: list[Found] = []
    for one in found:
        _, remark = one
        if remark.mend is None:
            continue
        before = texts.get(remark.page, look.texts[remark.page])
        after = remark.mend(before) if before is not None else None
        if after != before or after is None:
            texts[remark.page] = after
            done.append(one)
    return texts, done


def _finding(rule: Rule, remark: Remark, redactor: Redactor) -> Finding:
    fix = remark.fix or (FIX if remark.mend else "")
    message = redactor.text(" ".join(remark.message.split()))
    return Finding(level=rule.level, rule=rule.name, page=remark.page, message=message, fix=fix)


def _report_page(project: Project, before: str, found: Sequence[Finding], now: datetime) -> dict[str, str | None]:
    """Return the report as a page to be saved, nothing where the one that is there says the same."""
    body = report_text(found)
    if before and markdown.parse(before)[1] == body:
        return {}
    page = Page(
        id=markdown.page_id(project.id, REPORT),
        path=REPORT,
        title="What lint found",
        kind="lint",
        project=project.id,
        body=body,
        created=now,
        updated=now,
    )
    return {REPORT: markdown.text_from(page, before)}


def report_text(found: Sequence[Finding]) -> str:
    """Return findings as Markdown. Paths stand as code: the report links to nothing, and nothing leads to it."""
    lines = ["# What lint found", ""]
    if not found:
        return "\n".join([*lines, "Nothing.", ""])
    about = {rule.name: rule.about for rule in RULES}
    for level, title in _TITLES.items():
        mine = [one for one in found if one.level == level]
        if mine:
            lines += [f"## {title}", ""]
        for name in dict.fromkeys(one.rule for one in mine):
            some = [one for one in mine if one.rule == name]
            lines += [f"### {name}: {about[name]} ({len(some)})", ""]
            lines += [f"- {_code(one.page)} {_plain(one.message)}" for one in some[:LISTED]]
            lines += [f"- and {len(some) - LISTED} more"] * (len(some) > LISTED) + [""]
    return "\n".join(lines)


def _code(text: str) -> str:
    return f"`{text.replace('`', '')}`"


def _plain(text: str) -> str:
    """What was said of a page is shown as it is: it makes no links."""
    return text.replace("[[", "[ [").replace("](", "] (")
