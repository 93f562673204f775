"""What a repository's history tells: what was taken back and why, decisions and causes of bugs in commit messages,
where work happens.

Pure: commits in, Markdown out, newest first. All words are quoted from the messages; each entry names its commit.
"""

# ruff: noqa: E501 - patterns are easier to check on one line
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from itertools import combinations
from typing import NamedTuple

from ai_memory_mcp.prose import clip, code, inline, quote
from ai_memory_mcp.repolog import RepoCommit

REVERTS = 60
BARE_REVERTS = 40
TOLD = 60  # decisions, and bugs
HOT = 25
SWEEP = 40  # files; a commit that changes more says nothing about any of them
LATER = timedelta(days=180)  # within which a change of the same files may be what came of a revert
ENOUGH = 3  # points, see `_weight`
MORE = 120  # characters of a message that says more than what was done
STORY = 300  # characters; a fix whose message is longer tells what was behind it

_REVERT = re.compile(r'^(?:Revert|Back out|Backout)(?:ed|s)?\b[: ]+"?(.+?)"?$|^revert(?:\([^)]*\))?!?:\s*(.+)$', re.I)
_REAPPLY = re.compile(r'^(?:Reapply|Reland|Re-apply|Revert "Revert) "?(.+?)"*$', re.I)
_REVERTED = re.compile(r"^(?:This )?(?:partially )?reverts? (?:commit )?([0-9a-f]{7,40})\b[^\n]*$", re.I | re.M)
_REVERTED_MERGE = re.compile(r"^changes made to [0-9a-f]{7,40}\.?$", re.I | re.M)
_TRAILER = re.compile(
    r"^(?:[A-Z][A-Za-z]*-[A-Za-z-]+|Fixes|Closes|Refs?|See|Bug|Issue|PR-URL|Link|cc|CC):? .*$|^(?:(?:fixes|closes|resolves|refs?|see|ref|pr|closes) )*#\d+[.,]?$|^\(cherry picked from .*\)$",
    re.M | re.I,
)
_CONVENTIONAL = re.compile(r"^(\w+)(?:\(([^)]*)\))?(!)?: +\S")
_TYPES = frozenset("feat fix docs style refactor perf test tests build ci chore revert".split())
_BOT = re.compile(r"\[bot\]|dependabot|renovate|pre-commit-ci|github-actions", re.I)
_ROUTINE = re.compile(
    r"^(?:bump|merge|release|prepare|update (?:dependenc|dev|deps|lock|changelog|version|pre-commit|project|requirements)|pre-commit|wip|fixup!|squash!|v?\d+\.\d+|version \d|start(?:ing)? (?:version )?\d|chore\(?(?:deps|release)|docs?\b|readme|changelog|tests?:|typo|style|lint|format)\b",
    re.I,
)
_FIX = re.compile(r"\b(?:fix(?:e[sd]|ing)?|bug|hotfix|regression|crash(?:es)?|panic|leak|deadlock|race)\b", re.I)
_REASONS = tuple(
    re.compile(pattern, re.I)
    for pattern in (
        r"\b(?:because|since (?:it|we|this|the)|the reason|so that|otherwise)\b",
        r"\b(?:instead of|rather than|in favou?r of|as opposed to|over the old)\b",
        r"\b(?:we|I) (?:decided|chose|prefer|agreed|no longer)\b|\b(?:decision|trade-?offs?)\b",
        r"\b(?:to avoid|to prevent|not worth|too (?:slow|complex|fragile|expensive)|does not scale)\b",
        r"\b(?:no longer|deprecat\w+|dropp?(?:ed|ing)? support|remov\w+ support|end of life)\b",
        r"\b(?:switch(?:ed|ing)?|mov(?:e|ed|ing)|migrat\w+) (?:from|to|away)\b|\breplac\w+ .{1,40} (?:with|by)\b",
    )
)
_CAUSE = re.compile(
    r"\b(?:because|caused by|the (?:problem|issue|bug|cause|fix) (?:is|was|here)|turns out|it (?:turned|turns) out|previously|this (?:was|is) (?:a|due)|due to|would (?:fail|crash|panic|hang|loop|return)|race|regression|root cause)\b",
    re.I,
)
_BREAKING = re.compile(r"^BREAKING[ -]CHANGE", re.M)
_WORDS = re.compile(r"\.(?:md|rst|txt|adoc)$|(?:^|/)docs?/")
_DULL = re.compile(
    r"(?:^|/)(?:CHANGES|CHANGELOG|HISTORY|NEWS)[^/]*$|\.lock$|-lock\.(?:json|yaml)$|(?:^|/)go\.sum$|^\.pre-commit-config\.yaml$",
    re.I,
)


class Told(NamedTuple):
    """Text of a page, and how many things it tells."""

    body: str
    entries: int


def reverts(commits: Sequence[RepoCommit]) -> Told:
    """Tell what was taken back: with what is known of the reason, and the rest as a list."""
    by_id = {commit.id[:12]: commit for commit in commits}
    parts, bare = list[str](), list[str]()
    for place, commit in enumerate(commits):
        told = _REVERT.match(commit.subject)
        if not told or _REAPPLY.match(commit.subject):
            continue
        what = (told[1] or told[2]).strip('" ')
        sha = _REVERTED.search(commit.body)
        original = by_id.get(sha[1][:12]) if sha and len(sha[1]) >= 12 else _named(what, commits[place:])
        reason = _reason(commit)
        if (reason or (original and _without_trailers(original.body))) and len(parts) < REVERTS:
            parts.append(_reverted(commit, what, reason, original, commits[:place][::-1]))
        elif len(bare) < BARE_REVERTS:
            bare.append(f"- {inline(what, 120)} ({_when(commit)}; {_listed(commit.files, 3)})")
    entries = len(parts) + len(bare)
    if bare:
        parts.append("## Taken back without a reason in the message\n\n" + "\n".join(bare))
    return Told("\n\n".join(parts), entries)


def _reason(commit: RepoCommit) -> str:
    said = _REVERTED_MERGE.sub("", _REVERTED.sub("", commit.body))
    return _without_trailers(said).lstrip(".:,; \n")


def _named(subject: str, older: Sequence[RepoCommit]) -> RepoCommit | None:
    return next((commit for commit in older if commit.subject == subject), None)


def _reverted(
    commit: RepoCommit, what: str, reason: str, original: RepoCommit | None, later: Sequence[RepoCommit]
) -> str:
    lines = [f"## Reverted: {inline(what, 120)}", "", f"Taken back by {inline(commit.author, 60)} ({_when(commit)})."]
    if reason:
        lines += ["", "Why it was reverted, in the words of the message:", "", quote(reason, 900)]
    else:
        lines += ["", "The message does not say why it was reverted."]
    if original:
        lines += ["", f"It had come on {original.at:%Y-%m-%d} in {_cite(original)}."]
        if said := _without_trailers(original.body):
            lines += ["", "What it was for:", "", quote(said, 500)]
    if commit.files:
        lines += ["", "Files: " + _listed(commit.files)]
    if after := _what_came_after(commit, later):
        again = _REAPPLY.match(after.subject) or after.subject == what
        word = "It came back" if again else "The next change of these files"
        lines += ["", f"{word}: {inline(after.subject, 120)} ({_when(after)})."]
    return "\n".join(lines)


def _what_came_after(commit: RepoCommit, later: Sequence[RepoCommit]) -> RepoCommit | None:
    """Return the first later commit about the same files, the most of them."""
    files = set(commit.files)
    best: tuple[int, RepoCommit] | None = None
    for other in later:
        if other.at - commit.at > LATER:
            break
        shared = len(files & set(other.files)) if len(other.files) <= SWEEP else 0
        if shared and (best is None or shared > best[0]):
            best = (shared, other)
        if best and best[0] == len(files):
            break
    return best[1] if best else None


def decisions(commits: Sequence[RepoCommit]) -> Told:
    """Tell the decisions that messages give reasons for: the weightiest, newest first."""
    return _weightiest(commits, _weight, _REASONS)


def bugs(commits: Sequence[RepoCommit]) -> Told:
    """Tell the bugs whose fix explains what was behind them: the longest stories, newest first."""
    return _weightiest(commits, _story, (_CAUSE,))


def _weightiest(
    commits: Sequence[RepoCommit], weigh: Callable[[RepoCommit], int], telling: Sequence[re.Pattern[str]]
) -> Told:
    chosen = _heaviest(commits, weigh, TOLD)
    return Told("\n\n".join(_entry(commit, telling) for commit in chosen), len(chosen))


def _heaviest(commits: Sequence[RepoCommit], weigh: Callable[[RepoCommit], int], most: int) -> list[RepoCommit]:
    weighed = [(weight, -place) for place, commit in enumerate(commits) if (weight := weigh(commit)) >= ENOUGH]
    return [commits[place] for place in sorted(-place for _, place in sorted(weighed, reverse=True)[:most])]


def telling(commits: Sequence[RepoCommit], most: int) -> list[RepoCommit]:
    """Return the commits whose messages tell most of what was taken back, decided, or behind a bug, then those that
    say more than what was done; in all the newest first."""

    def worth(commit: RepoCommit) -> int:
        if _REVERT.match(commit.subject):
            return ENOUGH + (4 if _reason(commit) else 0)
        more = len(_without_trailers(commit.body)) >= MORE and not _routine(commit)
        return max(_weight(commit), _story(commit), ENOUGH if more else 0)

    return _heaviest(commits, worth, most)


def message(commit: RepoCommit, limit: int) -> str:
    """Return a commit as it stands: when, subject, reasons, files."""
    body = clip(_without_trailers(commit.body), limit)
    return f"{commit.at:%Y-%m-%d}: {commit.subject}\n\n{body}\n\nFiles: {', '.join(commit.files[:8])}"


def _weight(commit: RepoCommit) -> int:
    """Return how much a message looks like the reasons of a decision; 0 for routine work and for mended bugs."""
    if _routine(commit) or _FIX.search(commit.subject):
        return 0
    body = _without_trailers(commit.body)
    breaking = bool(_BREAKING.search(commit.body)) or bool((told := _CONVENTIONAL.match(commit.subject)) and told[3])
    found = sum(bool(pattern.search(body)) for pattern in _REASONS)
    if not breaking and (len(body) < 60 or not found):
        return 0
    listed = sum(line.startswith(("* ", "- ")) for line in body.split("\n")) > 8  # the list of a squashed branch
    return 2 * found + 4 * breaking + (len(body) > 200) + (len(body) > 600) - 4 * listed


def _story(commit: RepoCommit) -> int:
    """Return how much the message of a fix explains; 0 for one that does not."""
    if _routine(commit) or not _FIX.search(commit.subject):
        return 0
    body = _without_trailers(commit.body)
    return min(9, len(body) // 200) + 2 if len(body) >= STORY and _CAUSE.search(body) else 0


def _routine(commit: RepoCommit) -> bool:
    told = _CONVENTIONAL.match(commit.subject)
    dull = told and told[1].lower() in ("docs", "doc", "style", "test", "tests", "ci", "chore", "build", "deps")
    if commit.files and all(_WORDS.search(name) for name in commit.files):
        return True
    return bool(dull or _BOT.search(commit.author) or _ROUTINE.match(commit.subject) or _REVERT.match(commit.subject))


def _entry(commit: RepoCommit, telling: Sequence[re.Pattern[str]]) -> str:
    paragraphs = [part for part in _without_trailers(commit.body).split("\n\n") if part.strip()]
    kept = [part for part in paragraphs[1:] if any(pattern.search(part) for pattern in telling)]
    told = "\n\n".join([*paragraphs[:1], *kept]) or commit.body
    lines = [
        f"## {inline(commit.subject, 140)}",
        "",
        quote(told, 900),
        "",
        f"{inline(commit.author, 60)}, {_when(commit)}. Files: {_listed(commit.files)}",
    ]
    return "\n".join(lines)


def activity(commits: Sequence[RepoCommit], tags: Sequence[tuple[str, object]], known: Iterable[str]) -> str:
    """Tell where and how work happens: hot files, what changes together, who, releases, style of messages."""
    here = set(known)
    telling = [commit for commit in commits if len(commit.files) <= SWEEP]
    changes, fixes, together = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
    last: dict[str, RepoCommit] = {}
    for commit in telling:
        files = sorted(name for name in commit.files if name in here and not _DULL.search(name))
        changes.update(files)
        if _FIX.search(commit.subject):
            fixes.update(files)
        for name in files:
            last.setdefault(name, commit)
        if len(files) <= 12:
            together.update(combinations(files, 2))
    partners = _partners(changes, together)
    parts = [_span(commits, tags)]
    if changes:
        hot = [
            _hot(name, count, fixes[name], last[name], partners.get(name)) for name, count in changes.most_common(HOT)
        ]
        parts.append("## Files that change most\n\n" + "\n".join(hot))
    parts += [part for part in (_people(telling), _style(commits)) if part]
    return "\n\n".join(parts)


def _span(commits: Sequence[RepoCommit], tags: Sequence[tuple[str, object]]) -> str:
    newest, oldest = commits[0], commits[-1]
    text = (
        f"{len(commits):,} commits (merges left out) from {oldest.at:%Y-%m-%d} to {newest.at:%Y-%m-%d};"
        f" the newest is {_cite(newest)}: {inline(newest.subject, 120)}."
    )
    names = [f"{inline(name, 60)} ({at:%Y-%m-%d})" for name, at in tags[:8]]
    return text + (f"\n\nReleases (tags), newest first: {', '.join(names)}." if names else "")


def _partners(changes: Mapping[str, int], together: Mapping[tuple[str, str], int]) -> dict[str, str]:
    best: dict[str, tuple[float, str]] = {}
    for (one, other), count in together.items():
        for name, partner in ((one, other), (other, one)):
            share = count / changes[name]
            if count >= 3 and share >= 0.4 and share > best.get(name, (0.0, ""))[0]:
                best[name] = (share, partner)
    return {name: partner for name, (_, partner) in best.items()}


def _hot(name: str, count: int, fixed: int, last: RepoCommit, partner: str | None) -> str:
    told = f"- {code(name, 200)}: {count} changes"
    told += f", {fixed} of them fixes" if fixed else ""
    told += f", last {last.at:%Y-%m-%d} ({inline(last.subject, 80)})"
    return told + (f"; often together with {code(partner, 200)}" if partner else "")


def _people(commits: Sequence[RepoCommit]) -> str:
    authors = Counter(commit.author for commit in commits if not _BOT.search(commit.author))
    lines = []
    for author, count in authors.most_common(6):
        mine = Counter(_area(name) for commit in commits if commit.author == author for name in commit.files)
        where = ", ".join(code(area, 80) for area, _ in mine.most_common(3))
        lines.append(f"- {inline(author, 60)}: {count} commits, mostly in {where or 'no file'}")
    return "## Who worked on it\n\n" + "\n".join(lines) if lines else ""


def _area(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[: min(2, len(parts) - 1)]) + "/" if len(parts) > 1 else name


def _style(commits: Sequence[RepoCommit]) -> str:
    recent = commits[:500]
    found = [told for commit in recent if (told := _CONVENTIONAL.match(commit.subject)) and told[1].lower() in _TYPES]
    if len(found) * 2 > len(recent):
        types = Counter(told[1].lower() for told in found)
        scopes = Counter(told[2] for told in found if told[2])
        text = "Messages follow Conventional Commits: " + ", ".join(f"{name} ({n})" for name, n in types.most_common(8))
        text += f". Scopes: {', '.join(inline(scope, 40) for scope, _ in scopes.most_common(8))}" if scopes else ""
        return f"## How commits are written\n\n{text}."
    examples = [commit.subject for commit in recent if not _ROUTINE.match(commit.subject)][:4]
    listed = "\n".join(f"- {inline(subject, 120)}" for subject in examples)
    return f"## How commits are written\n\nNo fixed prefix. Recent examples:\n\n{listed}" if examples else ""


def _without_trailers(body: str) -> str:
    return re.sub(r"\n{3,}", "\n\n", _TRAILER.sub("", body)).strip()


def _cite(commit: RepoCommit) -> str:
    return f"commit `{commit.id[:10]}`"


def _when(commit: RepoCommit) -> str:
    return f"{commit.at:%Y-%m-%d}, {_cite(commit)}"


def _listed(names: Sequence[str], limit: int = 6) -> str:
    shown = ", ".join(code(name, 200) for name in names[:limit])
    return (clip(shown, 900) + (f" and {len(names) - limit} more" if len(names) > limit else "")) or "none"
