"""What a person sees: values in, text out. Nothing else under cli/ prints."""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from ai_memory_mcp.markdown import UNSEEN
from ai_memory_mcp.model import (
    Answer,
    Consolidation,
    Document,
    Embedded,
    EmbeddingStatus,
    Enriched,
    Erased,
    Feedback,
    Figures,
    Finding,
    Handoff,
    Hit,
    ImportReport,
    LintReport,
    LlmStatus,
    Project,
    Reverted,
    Revision,
    Session,
    Spending,
    Status,
    Sweep,
    SyncReport,
    SyncStatus,
)
from ai_memory_mcp.sizes import readable
from ai_memory_mcp.tokens import Token

if TYPE_CHECKING:
    from ai_memory_mcp.backup import Backup, Restored
    from ai_memory_mcp.exporting import Export
    from ai_memory_mcp.importing_sessions import PastReport
    from ai_memory_mcp.peers import PeerReport

_BEYOND_C0 = re.compile(f"[{UNSEEN}]")  # JSON itself escapes only the controls below these
_CONTROLS = re.compile(f"[\x00-\x08\x0b-\x1f{UNSEEN}]")
_CLEAR = "\r\x1b[K"
LISTED = 20  # lines of a list that may be long
LINTED = 10  # findings of one rule
STYLES = {"bold": "1", "dim": "2", "green": "32", "yellow": "33", "red": "31", "cyan": "36"}
MARKS = {"ok": "green", "hint": "cyan", "warning": "yellow", "error": "red"}  # of findings


def out(text: str = "") -> None:
    """Print a line."""
    sys.stdout.write(text + "\n")


def warn(text: str) -> None:
    """Print a line to stderr."""
    sys.stderr.write(text + "\n")


class Bar:
    """A line on stderr that tells how far a long command is; none where no terminal is."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._told = ("", 0.0)  # which step, and when

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal:
            sys.stderr.write(_CLEAR)

    def show(self, step: str, done: int, total: int) -> None:
        """Tell what is being done and how many of how many are done, ten times a second at most."""
        now = time.monotonic()
        if not self._terminal or (step == self._told[0] and now - self._told[1] < 0.1):
            return
        self._told = (step, now)
        filled = 24 * done // total if total else 0
        sys.stderr.write(f"{_CLEAR}{step:<10} [{'#' * filled:<24}] {done:,} of {total:,}")
        sys.stderr.flush()


def as_json(value: BaseModel | Mapping[str, Any]) -> None:
    """Print a value as JSON."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = json.dumps(plain, ensure_ascii=False, indent=2, default=_plain)
    out(_BEYOND_C0.sub(lambda char: json.dumps(char.group())[1:-1], text))


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def styled(text: str, style: str) -> str:
    """Colour a text when stdout is a terminal."""
    return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if sys.stdout.isatty() else text


def safe(text: str) -> str:
    """Drop control characters, those that turn the direction of text and tags included: stored text must neither
    drive the terminal nor show something else than it says."""
    return _CONTROLS.sub("", text)


def ago(when: datetime | None) -> str:
    """Say how long ago something was."""
    if when is None:
        return ""
    seconds = max(0, int((datetime.now(timezone.utc) - when).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return "just now"


def answer(found: Answer) -> None:
    """Print search hits."""
    for hit in found.hits:
        _hit(hit, hit.why)
    if not found.hits:
        out(f"nothing found in {safe(found.searched)}")
    if found.project:
        out(styled(safe(f"  here is project {found.project}, known by {found.resolved_by}"), "dim"))
    if found.hint:
        out(f"  {safe(found.hint)}")


def hits(found: Sequence[Hit]) -> None:
    """Print a list of pages."""
    for hit in found:
        _hit(hit)
    if not found:
        out("nothing yet")


def _hit(hit: Hit, why: str = "") -> None:
    about = ", ".join(word for word in (hit.kind, hit.agent, hit.project, ago(hit.date)) if word)
    out(f"{styled(safe(hit.title), 'bold')}  {styled(safe(about), 'dim')}")
    out(f"  {styled(safe(hit.path), 'cyan')}{styled(safe(f'  {why}' * bool(why)), 'dim')}")
    if hit.snippet:
        out(f"  {safe(hit.snippet)}")
    out()


def document(found: Document) -> None:
    """Print a page or session as it stands, and below it what is known of it."""
    out(safe(found.text.rstrip("\n")))
    if found.revision:
        out(styled(safe(f"\nas committed in {_commit(found.revision)}"), "yellow"))
    for told in found.feedback:
        out(styled(safe(f"\nmarked {told.verdict} by {told.agent} {ago(told.at)}  {told.note}".rstrip()), "yellow"))
    whole = [one for one in found.links if one.path]
    for word, items in (
        ("links to", [one.path if one.path == one.target else f"{one.target} → {one.path}" for one in whole]),
        ("broken links", [one.target for one in found.links if not one.path]),
        ("linked from", found.backlinks),
        ("same session", found.same_session),
        ("supersedes", found.supersedes),
        ("superseded by", found.superseded_by),
        ("history", [_commit(one) for one in found.history]),
    ):
        if items:
            out(f"\n{styled(word, 'bold')}")
            out("\n".join(f"  {safe(item)}" for item in items))


def revisions(found: Sequence[Revision]) -> None:
    """Print commits, and what they changed."""
    for one in found:
        commit, _, rest = _commit(one).partition("  ")
        out(f"{styled(commit, 'cyan')}  {safe(rest)}")
        for page in one.pages:
            out(f"  {page.change.ljust(8)} {safe(page.path)}")
            if page.diff:
                out(coloured_diff(page.diff))
        if one.total > len(one.pages):
            out(f"  and {one.total - len(one.pages)} more pages")
    if not found:
        out("no history yet")


def reverted(done: Reverted) -> None:
    """Print what was taken back."""
    out(f"{styled(done.commit[:10], 'cyan')}  {safe(done.message)}")
    for path in done.pages:
        out(f"  as before  {safe(path)}")
    for path in done.kept:
        out(styled(f"  changed since, stays  {safe(path)}", "yellow"))


def erased(told: Erased) -> None:
    """Print what was taken out of memory, or what would be."""
    will, word = ("would be ", styled("dry run", "yellow")) if told.dry_run else ("", "")
    how = "erased for good" if told.for_good else "removed"
    where = f" in project {safe(told.project)}" if told.project else ""
    if told.what == "text":
        out(f"the text {will}{how}: it {'is' if told.dry_run else 'was'} in {told.places} files  {word}".rstrip())
        if not told.dry_run:
            out("An agent that still knows it can bring it in again: add it to `patterns`, [redact], in config.toml.")
    else:
        out(f"{told.what} {safe(told.name)}{where} {will}{how}  {word}".rstrip())
    for path in told.left:
        out(styled(f"  it stays in {safe(path)}, which only you can change", "yellow"))
    for path in told.pages[:20]:
        out(f"  {safe(path)}")
    if len(told.pages) > 20:
        out(f"  … {len(told.pages) - 20} more pages")
    if told.sessions:
        out(f"  {len(told.sessions)} sessions, {told.observations} observations")
    if told.commits:
        out(f"  {told.commits} commits of the history were made anew")
    if told.git:
        out(f"  of your own in the wiki's git, {will or 'were '}made anew as well: {safe(', '.join(told.git))}")


def _commit(one: Revision) -> str:
    return f"{one.commit[:10]}  {one.at:%Y-%m-%d %H:%M} UTC  {one.author}: {one.message}"


def feedback(told: Feedback) -> None:
    """Print what was noted."""
    out(f"noted: {safe(told.path or told.title or told.target)} is {told.verdict}")


def sessions(found: Sequence[Session]) -> None:
    """Print a table of sessions."""
    for one in found:
        about = f"{one.agent}, {one.state}, {one.observations} observations, {ago(one.last)}"
        out(f"{one.id[:8]}  {styled(safe(one.title) or '(nothing said)', 'bold')}  {styled(safe(about), 'dim')}")
        if one.page:
            out(f"          {styled(safe(one.page), 'cyan')}")
    if not found:
        out("no sessions yet")


def handoffs(found: Sequence[Handoff], *, brief: bool = False) -> None:
    """Print handoffs with everything they say; with `brief` only a line of those that no longer wait."""
    for one in found:
        about = f"{one.state}, from {one.from_agent or '?'} to {one.to_agent}, {ago(one.created)}"
        out(f"{styled(one.id[:8], 'bold')}  {styled(safe(about), 'dim')}")
        if brief and one.state not in ("open", "offered"):
            out(f"  {safe(one.summary.partition(chr(10))[0])}\n")
            continue
        out(safe(one.summary))
        for name in ("next_steps", "open_questions", "failed_approaches", "decisions", "files_touched"):
            items: tuple[str, ...] = getattr(one, name)
            if items:
                out(f"{name.replace('_', ' ')}:")
                for item in items:
                    out(f"  - {safe(item)}")
        out()
    if not found:
        out("no handoff is waiting" if not brief else "no handoffs yet")


def tokens(found: Sequence[Token]) -> None:
    """Print what opens the server."""
    for one in found:
        may = f"{'reads' if one.read_only else 'reads and writes'} {', '.join(one.workspaces) or 'every workspace'}"
        out(f"{styled(one.name, 'bold')}  {may}, made {ago(one.created)}")
    if not found:
        out("There are no tokens: the server answers on this machine only, and anybody on it.")


def consolidated(found: Sequence[Consolidation]) -> None:
    """Print what became of sessions; of a dry run the pages themselves."""
    words = {"by-rule": "compiled by rule", "planned": "would be consolidated"}
    for one in found:
        title = styled(safe(one.title) or "(nothing said)", "bold")
        out(f"{one.session[:8]}  {title}  {words.get(one.state, one.state)}")
        if one.note:
            out(f"          {safe(one.note)}")
        if one.page and not one.pages:
            out(f"          {styled(safe(one.page), 'cyan')}")
        for page in one.pages:
            out(f"          {page.change.ljust(8)}{styled(safe(page.path), 'cyan')}")
        if one.state == "planned":
            for page in one.pages:
                out(f"\n{styled(safe(page.path), 'bold')}\n{safe(page.text.rstrip())}")


def linted(found: LintReport, *, whole: bool) -> None:
    """Print what lint found, by rule; of a rule with many findings some, unless it was asked for `whole`."""
    for one in found.fixed:
        out(f"{styled('mended'.ljust(8), 'green')} {styled(safe(one.page), 'cyan')} {safe(one.message)}")
    for name in dict.fromkeys(one.rule for one in found.findings):
        some = [one for one in found.findings if one.rule == name]
        for one in some if whole else some[:LINTED]:
            mark = styled(one.level.ljust(8), MARKS[one.level])
            out(f"{mark} {name}: {styled(safe(one.page), 'cyan')} {safe(one.message)}")
            if one.fix:
                out(f"         {styled('→ ' + safe(one.fix), 'cyan')}")
        if len(some) > LINTED and not whole:
            out(f"         and {len(some) - LINTED:,} more: lint --rule {name}")
    counts = Counter(one.level for one in found.findings)
    told = ", ".join(f"{counts[level]:,} {level}s" for level in ("error", "warning", "hint") if counts[level])
    out(f"{found.pages:,} pages in project {safe(found.project)}: {told or 'nothing to remark'}")
    if found.report:
        out(f"the report is in {found.report}")


SWEPT = {"page": "pages", "observations": "raw observations of sessions", "compress": "journals to compress"}


def to_sweep(found: Sweep) -> None:
    """Print what a sweep would take out, and why."""
    for what in SWEPT:
        some = [one for one in found.items if one.what == what]
        _list(
            [
                f"{what}: {styled(safe(one.ref), 'cyan')} {safe(f'{one.title} ({one.project}: {one.why})')}"
                for one in some
            ]
        )
    if found.items:
        out(styled(f"its time is over: {_sums(found)}", "bold"))
    else:
        out(f"nothing has had its time; the journal has {found.journal / 1e6:,.1f} MB")


def swept(done: Sweep) -> None:
    """Print how much a sweep has taken out."""
    out(f"done: {_sums(done)}" if done.items else "nothing was done: what was due has been used or changed meanwhile")


def _sums(found: Sweep) -> str:
    told = []
    for what, word in SWEPT.items():
        sizes = [one.bytes for one in found.items if one.what == what]
        if sizes:
            told.append(f"{len(sizes):,} {word} ({sum(sizes) / 1e6:,.1f} MB)")
    return ", ".join(told)


def projects(found: Sequence[Project]) -> None:
    """Print known projects."""
    for one in found:
        out(f"{styled(safe(one.name), 'bold')}  {styled(safe(f'{one.workspace}, {one.id}'), 'dim')}")
        for place in (*one.roots, *one.remotes):
            out(f"  {safe(place)}")
    if not found:
        out("no projects yet")


def status(found: Status) -> None:
    """Print what is there."""
    project = found.project or {}
    name = project.get("name") or f"(no project here; workspace {project.get('workspace')})"
    out(f"project   {styled(safe(name), 'bold')}  {styled('by ' + str(project.get('resolved_by')), 'dim')}")
    counts = found.counts
    out(
        f"holds     {counts.pages} pages, {counts.sessions} sessions, {counts.observations} observations,"
        f" {counts.handoffs} handoffs"
    )
    capture = found.capture
    out(
        f"capture   {capture.seen} seen = {capture.stored} stored + {capture.duplicates} duplicates"
        f" + {capture.filtered} filtered + {capture.set_aside} set aside"
    )
    out(f"spool     {found.spool['pending']} waiting, {found.spool['set_aside']} set aside")
    out(f"handoff   {found.handoff[:8] + ' is waiting' if found.handoff else 'none waiting'}")
    out(f"home      {found.home}")
    if found.figures:
        _figures(found.figures)
    if found.llm:
        _llm(found.llm)
    if found.embedding:
        _embedding(found.embedding)
    if found.sync:
        _sync(found.sync)
    for problem in found.problems:
        out(styled(f"problem   {safe(problem)}", "yellow"))


def _figures(found: Figures) -> None:
    for word, span in (("week", found.week), ("day", found.day)):
        more = f", {readable(span.bytes)} more on the disk" if span.bytes and span.bytes > 0 else ""
        out(
            f"last {word:4} {span.sessions:,} sessions, {span.observations:,} observations in them,"
            f" {span.pages:,} pages changed{more}"
        )
    if found.sizes:
        parts = sorted(((count, part) for part, count in found.sizes.items() if count), reverse=True)
        told = ", ".join(f"{part} {readable(count)}" for count, part in parts)
        out(f"disk      {readable(sum(found.sizes.values()))}: {told}; measured {ago(found.measured)}")
    junk, loss = found.junk, found.loss
    if junk.pages:
        out(
            f"junk      {junk.rate:.0%} of {junk.pages:,} pages: {junk.never_recalled:,} never recalled,"
            f" {junk.duplicates:,} duplicates, {junk.superseded:,} superseded"
        )
    out(f"loss      {loss.lost:,} events ({loss.rate:.2%}); hooks failed {loss.hook_failures:,} times in the last week")
    if found.slow_calls:
        last = found.slow[-1]
        told = f"the last: {last.what}, {last.seconds:.1f} s, {ago(last.at)}"
        out(f"slow      {found.slow_calls:,} calls took longer than a second in the last week; {told}")


def synced(found: SyncReport) -> None:
    """Print what a sync did, or would do, project by project."""
    for one in found.projects:
        name = styled(safe(f"{one.workspace}/{one.project}" if one.workspace else one.project), "bold")
        out(f"{name}  {one.state}{', new here' * one.new}  {styled(safe(f'{one.remote} {one.branch}'), 'dim')}")
        counts = f"{len(one.received):,} taken in, {len(one.removed):,} removed"
        if one.received or one.removed or one.sent:
            out(f"  {counts}{', sent' * one.sent}")
        if one.note:
            out(styled(f"  {safe(one.note)}", "yellow"))
        for word, paths in (
            ("changed in two places, decide", one.in_conflict),
            ("missing on one side, kept", one.kept),
            ("left out", [f"{path}: {why}" for path, why in one.left_out.items()]),
        ):
            _list([styled(safe(f"  {word}: {path}"), "yellow") for path in paths])
    if not found.projects:
        out("there is no project yet")


def imported(found: ImportReport) -> None:
    """Print what an import did, or would do."""
    changed = {**found.added, **found.updated}
    if found.dry_run:
        _list([f"{safe(name)} → {styled(safe(path), 'cyan')}" for name, path in sorted(changed.items())])
    would = "would be " if found.dry_run else ""
    counts = f"{len(found.added):,} {would}added, {len(found.updated):,} {would}updated, {found.unchanged:,} unchanged"
    out(f"{styled(counts, 'bold')}  {styled(safe(f'project {found.project}, from {found.folder}'), 'dim')}")
    if found.kinds:
        out("of kind " + ", ".join(f"{kind} {count:,}" for kind, count in found.kinds.items()))
    if found.redacted:
        out(f"{found.redacted:,} of them had secrets in them, which are redacted")
    if found.skipped:
        out(f"{len(found.skipped):,} left out:")
        _list([safe(f"  {name}: {reason}") for name, reason in found.skipped.items()])
    if found.other_files:
        out(f"not Markdown: {found.other_files:,} other files")
    if found.enriched:
        _enriched(found.enriched)


def imported_from_peer(found: PeerReport) -> None:
    """Print what an import of several projects did, or would do."""
    for one in found.imports:
        imported(one)
    if found.captured:
        out(f"{found.captured:,} of the sessions are in memory already: what was made of them comes as notes")
    for name, reason in found.left_out.items():
        out(safe(f"left out: {name}: {reason}"))


def _enriched(found: Enriched) -> None:
    told = {
        "written": f"{len(found.pages):,} pages by the language model, in {found.calls:,} questions",
        "planned": f"the language model would be asked {found.calls:,} times, about {found.tokens:,} tokens at most",
        "unchanged": "the language model was not asked: it has seen all of this",
        "failed": "the language model made nothing of it; the pages by rule are there",
    }
    out(told[found.state])
    for page in found.pages:
        out(f"  {page.change.ljust(8)}{styled(safe(page.path), 'cyan')}")
    if found.note:
        out(f"  {safe(found.note)}")


def imported_sessions(found: PastReport) -> None:
    """Print what an import of past sessions did, or would do."""
    for one in found.sources:
        new = one.sessions - one.known
        days = f"{one.first:%Y-%m-%d} to {one.last:%Y-%m-%d}" if one.first and one.last else ""
        left = f", {one.excluded:,} left out by capture rules" if one.excluded else ""
        out(
            f"{styled(safe(one.project), 'bold')}  {safe(one.agent)}: {new:,} new sessions, {one.known:,} known,"
            f" {one.events:,} events{left}  {styled(days, 'dim')}"
        )
    if not found.sources:
        out("no past session of this project was found")
    elif found.dry_run:
        out("nothing is stored yet (a dry run)")
    else:
        out(f"{found.stored:,} observations stored, {found.pages:,} session pages written")
    for reason, count in sorted(found.skipped.items()):
        out(f"left out: {count:,} {safe(reason)}")


def renamed(name: str, project: Project) -> None:
    """Print what has become of a project."""
    out(safe(f"{name} is {project.workspace}/{project.name} now; what it was called leads there as well"))


def backed_up(told: Backup) -> None:
    """Print what was backed up."""
    out(f"{styled(safe(told.file), 'cyan')}: {told.files:,} files, {told.bytes:,} bytes, {told.size:,} packed")
    if told.left_out:
        out(f"{len(told.left_out):,} left out:")
        _list([safe(f"  {name}: {reason}") for name, reason in told.left_out.items()])
    out("Keep it as you keep the memory itself: whoever has the file can read all of it.")


def exported(told: Export) -> None:
    """Print what was exported."""
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in told.kinds.items())
    out(f"{styled(safe(told.target), 'cyan')}: {told.pages:,} pages of {safe(told.project)} ({kinds})")
    if told.redacted:
        out(f"{told.redacted:,} of them had secrets in them, which are redacted there; `lint` says which they are")
    if told.aside:
        out(safe(f"the export that was there before is {told.aside} now"))


def restored(told: Restored) -> None:
    """Print what was restored, or would be."""
    what = f"the memory of {told.made:%Y-%m-%d %H:%M} UTC: {told.files:,} files, {told.bytes:,} bytes"
    if told.dry_run:
        out(safe(f"all of it is right: {what}, by version {told.version}. Nothing was restored (a dry run)"))
        return
    out(f"{styled(safe(told.home), 'cyan')} holds {what}")
    if told.kept:
        out(styled(safe(f"left as it was there: {', '.join(told.kept)}"), "yellow"))
    if told.aside:
        out(styled(safe(f"written meanwhile, and put aside: {', '.join(told.aside)}"), "yellow"))
    if told.tokens:
        names = ", ".join(told.tokens)
        out(safe(f"these tokens open the server again: {names}; `ai-memory-mcp token revoke NAME` ends one"))


def _list(lines: Sequence[str]) -> None:
    for line in lines[:LISTED]:
        out(line)
    if len(lines) > LISTED:
        out(f"  … and {len(lines) - LISTED:,} more; --json lists all")


def _sync(found: SyncStatus) -> None:
    out(safe(f"sync      {ago(found.last) or 'never done'}, with {found.remote or 'nobody yet'} {found.branch}"))
    if found.error:
        out(styled(safe(f"          the last try failed: {found.error}"), "yellow"))
    for path in found.in_conflict:
        out(styled(safe(f"          changed in two places, decide: {path}"), "yellow"))


def _llm(found: LlmStatus) -> None:
    waiting = f", {found.waiting} sessions wait" if found.waiting else ""
    given_up = f", {found.given_up} given up" if found.given_up else ""
    out(
        f"llm       {safe(found.provider)} {safe(found.model)}: {found.spent:,} of {found.daily_tokens:,} tokens today"
        f"{waiting}{given_up}"
    )
    _spent(found.days)
    if found.problem:
        out(styled(f"          {safe(found.problem)}", "yellow"))


def _embedding(found: EmbeddingStatus) -> None:
    waiting = f", {found.waiting:,} wait" if found.waiting else ""
    out(
        f"embedding {safe(found.provider)} {safe(found.model)}: {found.embedded:,} passages and observations{waiting};"
        f" {found.spent:,} of {found.daily_tokens:,} tokens today"
    )
    _spent(found.days)
    if found.problem:
        out(styled(f"          {safe(found.problem)}", "yellow"))


def _spent(days: Mapping[str, Mapping[str, Spending]]) -> None:
    for day, purposes in days.items():
        for purpose, one in purposes.items():
            failed = f" ({one.failed} failed)" if one.failed else ""
            out(f"          {day}  {safe(purpose)}: {one.calls} calls{failed}, {one.input:,} in, {one.output:,} out")


def embedded(found: Embedded) -> None:
    """Print what was embedded."""
    out(
        f"{found.rows:,} passages and observations embedded by {safe(found.model)}, {found.dimension:,} numbers each;"
        f" it was asked for {found.asked:,} texts"
    )
    if found.refused:
        out(f"{found.refused:,} texts it does not take: they are found by their words")


def agents(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print which agents are supported and how far, and which are found and wired."""
    header = ["agent", "name", "MCP", "hooks", "brief", "end", "compaction", "known from", "here"]
    cells = [[*_supported(row), _wired(row)] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in (header, *cells):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        out(styled(text, "bold") if line is header else safe(text))
    for row in rows:
        for error in row["errors"]:
            out(styled(f"{row['title']}: {safe(error)}", "yellow"))


def _supported(row: Mapping[str, Any]) -> list[str]:
    from ai_memory_mcp.agents.support import known_from  # reading how agents are described takes 40 ms

    marks = ["yes" if row[name] else "no" for name in ("brief", "session_end", "pre_compact")]
    mcp = "yes" if row["mcp_place"] else "no"
    return [
        str(row["title"]),
        str(row["name"]),
        mcp,
        str(row["hooks_by"]),
        *marks,
        known_from(row["evidence"], row["seen"]),
    ]


def _wired(row: Mapping[str, Any]) -> str:
    """How an agent stands on this machine, in few words."""
    states = {part: row[key] for part, key in (("MCP", "mcp"), ("hooks", "hooks")) if row[key] != "unsupported"}
    if not row["found"] and set(states.values()) <= {"missing"}:
        return "not found"
    told = ", ".join(f"{part} {state}" for part, state in states.items())
    if len(states) > 1 and len(set(states.values())) == 1:
        told = {"missing": "not wired"}.get(row["mcp"], row["mcp"])
    return f"{told}{', not trusted yet' if row['trusted'] is False else ''}"


def upgrade(told: Mapping[str, Any]) -> None:
    """Print which version is installed and which is available."""
    by = f", installed by {told['installer']}" if told["installer"] else ", a checkout"
    out(f"installed  {styled(told['installed'], 'bold')}{by}{' from ' + told['origin'] if told['origin'] else ''}")
    if told["available"]:
        out(f"available  {styled(told['available'], 'bold')}{'' if told['newer'] else ': nothing to do'}")
    if told["newer"] is not False:
        out(f"upgrade    {styled(safe(told['command']), 'cyan')}")


def upgraded(told: Mapping[str, Any]) -> None:
    """Print what an upgrade has brought and changed."""
    out(f"{told['upgraded']} is installed. Agents that run now use it once they are started again.")
    for change in told["refreshed"].get("changes", ()):
        out(f"{safe(change['path'])}: {safe(', '.join(change['summary']))}")
    for error in told["refreshed"].get("errors", ()):
        out(styled(safe(error), "yellow"))


def coloured_diff(text: str) -> str:
    """Colour a unified diff when stdout is a terminal."""
    styles = {"+": "green", "-": "red", "@": "cyan"}
    lines = [styled(line, styles[line[0]]) if line[:1] in styles else line for line in safe(text).splitlines()]
    return "\n".join(lines)


def findings(found: Sequence[Finding]) -> None:
    """Print what doctor found."""
    for one in found:
        out(f"{styled(one.level.ljust(8), MARKS[one.level])} {safe(one.message)}")
        if one.fix:
            out(f"         {styled('→ ' + safe(one.fix), 'cyan')}")
