"""Bootstrap: a first wiki of what a repository already says, by rule. Texts of pages out; nothing is written here.

The pages go in as an import does, so a second run changes only what has changed, and a page that somebody has edited
since is left alone (that it is `generated_by` us is said in its front matter). Each statement names the file or commit
that it is from; what a page says depends on the repository alone, never on the clock.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from ai_memory_mcp import bootstrap_history as history
from ai_memory_mcp import bootstrap_sources as sources
from ai_memory_mcp import markdown
from ai_memory_mcp.bootstrap_commands import Command, Manifest, commands, manifests
from ai_memory_mcp.memory import Progress
from ai_memory_mcp.prose import code, inline
from ai_memory_mcp.repolog import Repo, RepoCommit

TEXT = 60_000  # characters of a file that are looked at
WHOLE = 24_000  # characters of a document that becomes a page as it is
FULL = 40_000  # characters of a page; what is more goes into another one
CHANGES = 8_000  # characters of the newest changes
MODULES = 1_600  # source files that are opened
DOCS = 300
RECORDS = 60  # decision records
PILLARS = 6
READMES = 40
PACKAGES = 12
PER_PURPOSE = 12  # commands
PARTS = 6  # pages of one list
OVERVIEW = "concepts/overview.md"
MORE = "\n\n## More\n\n"
_TITLES = {
    "test": "How to run the tests",
    "build": "How to build",
    "install": "How to install and set up",
    "run": "How to run it",
    "lint": "How to lint, format and check types",
    "deploy": "How to release and deploy",
}
_SHELVES = frozenset("src lib libs packages crates apps services modules cmd internal pkg components plugins".split())
_KINDS = {"concepts": "concept", "procedures": "procedure", "gotchas": "gotcha", "decisions": "decision"}


class Made(NamedTuple):
    """One page: where it goes, its title, one line of summary and its text."""

    path: str
    title: str
    summary: str
    body: str

    def text(self, project_id: str = "") -> str:
        """Return the page's file. With the id of the project it has its own, by which several machines know it."""
        head = {
            "id": markdown.page_id(project_id, self.path) if project_id else None,
            "title": self.title,
            "kind": _KINDS.get(self.path.partition("/")[0], "note"),
            "tags": ["bootstrap"],
            "summary": self.summary,
            "generated_by": "bootstrap",
        }
        return f"{markdown.set_keys('', head)}{self.body.strip()}\n"


def pages(repo: Repo, name: str, *, since: str = "", progress: Progress = lambda *_: None) -> list[Made]:
    """Make the pages of a repository that is called `name`, the overview first, which leads to none of them yet; of its
    history those after `since`, an ISO date. Raises InputError when git cannot be asked."""
    progress("files", 0, 1)
    names = repo.files()
    progress("history", 0, 1)
    every = repo.commits()
    told = repo.commits(since) if since else every
    reading = _Reading(repo, names, every, progress)
    made = [page for page in (*_of_files(reading, name), *_of_history(reading, told, repo.tags())) if page.body.strip()]
    return _apart(made)


def contents(overview: str) -> dict[str, str]:
    """Return the pages that the text of an overview leads to, path -> the line that does."""
    told = overview.rpartition(MORE)[2].split("\n")
    return {f"{found[1]}.md": line for line in told if (found := re.match(r"- \[\[([^\[\]|]+)\|", line))}


def _apart(pages: Sequence[Made]) -> list[Made]:
    """Give each page a path of its own: names of files that differ may read alike in a path."""
    found: dict[str, Made] = {}
    for page in pages:
        path, number = page.path, 1
        while path in found:
            path, number = f"{page.path[:-3]}-{number + 1}.md", number + 1
        found[path] = page._replace(path=path)
    return list(found.values())


def with_contents(overview: Made, others: Sequence[Made], kept: Mapping[str, str]) -> Made:
    """Have the overview lead to other pages, and to those that were `kept` from an earlier run (see `contents`)."""
    lines = {one.path: f"- [[{one.path.removesuffix('.md')}|{one.title}]]: {one.summary}" for one in others}
    lines |= {path: line for path, line in kept.items() if path not in lines}
    return overview._replace(body=overview.body + MORE + "\n".join(lines.values())) if lines else overview


class _Reading:
    """Files of a repository, each read once, and when each of them changed."""

    def __init__(self, repo: Repo, names: Sequence[str], commits: Sequence[RepoCommit], progress: Progress) -> None:
        self.names, self.known, self.progress = names, set(names), progress
        self._repo = repo
        self._texts: dict[str, str] = {}
        self._dates: dict[str, datetime] = {}
        for commit in commits:
            for name in commit.files:
                self._dates.setdefault(name, commit.at)

    def text(self, name: str) -> str:
        if name not in self._texts:
            self._texts[name] = self._repo.text(name, TEXT)
        return self._texts[name]

    def day(self, name: str) -> str:
        """Return when a file changed, by the history or, where there is none, on the disk; '' when nobody knows."""
        at = self._dates.get(name) or (None if self._dates else self._repo.changed(name))
        return f"{at:%Y-%m-%d}" if at else ""


# --- of files


def _of_files(reading: _Reading, name: str) -> Iterator[Made]:
    readmes = sources.readmes(reading.names)[:READMES]
    root = [one for one in readmes[:1] if "/" not in one]
    told = sources.instructions(reading.names)
    pillars = [one for one in sources.pillars(reading.names)[:PILLARS] if one not in told]
    records = sources.decision_records(reading.names)[:RECORDS]
    documents = [one for one in sources.docs(reading.names)[:DOCS] if one not in (*told, *pillars)]
    packages = manifests(reading.names, reading.text)
    yield _overview(reading, name, readmes, packages)
    yield _commands(reading, [*root, *told, *pillars, *documents], packages)
    for one in [*root, *told]:
        yield _as_it_is(reading, one, "notes/repository")
    for one in pillars:
        yield _as_it_is(reading, one, "concepts")
    for one in records:
        yield _as_it_is(reading, one, "decisions/records")
    yield _changes(reading)
    rest = [one for one in readmes if one not in root]
    yield from _documents(reading, [*documents, *sources.decision_records(reading.names)[RECORDS:DOCS], *rest])
    yield from _modules(reading)


def _overview(reading: _Reading, name: str, readmes: Sequence[str], packages: Sequence[Manifest]) -> Made:
    parts = []
    first = reading.text(readmes[0]) if readmes else ""
    lead = sources.lead(first)
    said = lead or next((one.summary for one in packages if one.summary), "")
    if lead:
        parts.append(f"{inline(lead, 700)} (`{readmes[0]}`)")
    languages = Counter(language for one in reading.names if (language := sources.language_of(one)))
    told = ", ".join(f"{language} ({count:,} files)" for language, count in languages.most_common(6))
    parts.append(f"{len(reading.names):,} files." + (f" Written in {told}." if told else ""))
    if headings := sources.headings(first):
        parts.append(f"`{readmes[0]}` has sections on: " + "; ".join(inline(one, 80) for one in headings[:25]) + ".")
    parts += [_package(one) for one in packages[:PACKAGES]]
    if folders := _folders(reading, readmes):
        parts.append("## Folders\n\n" + "\n".join(folders))
    return Made(OVERVIEW, f"What {inline(name, 60)} is", inline(said, 200), "\n\n".join(parts))


def _package(one: Manifest) -> str:
    told = f"## {inline(one.name or posixpath.dirname(one.source) or 'The package', 80)}\n\n"
    told += f"{inline(one.summary, 300)}\n\n" if one.summary else ""
    told += "\n".join("- " + inline(f"{what}: {value}", 500) for what, value in one.facts)
    return f"{told.rstrip()}\n\n(`{one.source}`)"


def _folders(reading: _Reading, readmes: Sequence[str]) -> list[str]:
    inside: dict[str, list[str]] = {}
    for one in reading.names:
        parts = one.split("/")
        for depth in (1, 2) if parts[0] in _SHELVES else (1,):
            if len(parts) > depth:
                inside.setdefault("/".join(parts[:depth]) + "/", []).append(one)
    described = {posixpath.dirname(one) + "/": one for one in readmes}
    lines = []
    for folder, names in sorted(inside.items(), key=lambda pair: (pair[0].startswith("."), pair[0]))[:60]:
        languages = Counter(found for one in names if (found := sources.language_of(one)))
        mostly = f", mostly {languages.most_common(1)[0][0]}" if languages else ""
        told = _said_of(reading, folder, described.get(folder, ""))
        count = f"{len(names):,} files" if len(names) > 1 else "1 file"
        lines.append(f"- {code(folder, 120)}: {count}{mostly}" + (f". {told}" if told else ""))
    return lines


def _said_of(reading: _Reading, folder: str, readme: str) -> str:
    if readme:
        return f"{inline(sources.lead(reading.text(readme)), 200)} ({code(readme, 200)})"
    for inside in ("__init__.py", "mod.rs", "lib.rs", "index.ts", "index.js", "doc.go"):
        for name in (folder + inside, f"{folder}src/{inside}"):
            if name in reading.known and (said := sources.module_head(name, reading.text(name))):
                return f"{inline(said, 200)} ({code(name, 200)})"
    return ""


def _commands(reading: _Reading, documents: Sequence[str], packages: Sequence[Manifest]) -> Made:
    """Put the same command of several places together; those of manifests and in more places come first."""
    found = [command for one in packages for command in one.commands]
    found += commands(reading.names, reading.text, documents, [one.name for one in packages])
    merged: dict[str, list[Command]] = {}
    for command in found:
        merged.setdefault(command.line, []).append(command)
    parts = []
    for purpose, title in _TITLES.items():
        mine = [same for same in merged.values() if same[0].purpose == purpose]
        mine.sort(key=lambda same: -len({one.source for one in same}))
        if mine:
            parts.append(f"## {title}\n\n" + "\n".join(map(_command, mine[:PER_PURPOSE])))
    summary = next((f"Tests: {same[0].line}" for same in merged.values() if same[0].purpose == "test"), "")
    lead = "Commands that the repository itself names, with where each of them stands; none was tried."
    body = "\n\n".join([lead, *parts]) if parts else ""
    title = "How to install, build, test and run"
    return Made("procedures/build-and-test.md", title, inline(summary, 200), body)


def _command(same: Sequence[Command]) -> str:
    places = ", ".join(code(name, 120) for name in list(dict.fromkeys(one.source for one in same))[:4])
    note = next((one.note for one in same if one.note and one.note != one.line), "")
    return f"- {code(same[0].line, 200)}" + (f": {inline(note, 160)}" if note else "") + f" ({places})"


def _as_it_is(reading: _Reading, name: str, folder: str) -> Made:
    """Make a page of a document as it is, so that agents that do not read it by themselves find it."""
    text, day = reading.text(name), reading.day(name)
    body = sources.page_text(text, WHOLE)
    note = f"This is `{name}`{f' of {day}' if day else ''}; the file is what counts."
    goes_on = f"\n\n(The file goes on; read `{name}`.)" if len(body) > 0.7 * WHOLE and len(text) > WHOLE else ""
    headings = sources.headings(text)
    named = f"{headings[0]} ({name})" if headings and folder != "notes/repository" else f"{name} of this repository"
    mark = markdown.slug(name.replace("/", " ").replace(".", " ").strip())
    body = f"{note}\n\n{body}{goes_on}" if body else ""
    return Made(f"{folder}/{mark}.md", inline(named, 160), inline(sources.lead(text), 200), body)


def _changes(reading: _Reading) -> Made:
    name = next(iter(sources.changelogs(reading.names)), "")
    said = sources.newest_changes(reading.text(name), CHANGES) if name else ""
    lead = f"The newest part of `{name}`; the file has the rest.\n\n"
    title = "What changed in the last releases"
    return Made("concepts/changes.md", title, f"From {name}", lead + said if said else "")


def _documents(reading: _Reading, names: Sequence[str]) -> Iterator[Made]:
    parts = []
    for number, name in enumerate(dict.fromkeys(names)):
        reading.progress("documents", number, len(names))
        text = reading.text(name)
        headings = sources.headings(text)
        said = sources.lead(text) or next(iter(headings), "")
        if said:
            sections = inline("; ".join(headings[1:41]), 1500)
            parts.append(f"- {code(name, 200)}: {inline(said, 220)}" + (f" Sections: {sections}." if sections else ""))
    lead = "Read the file itself for what it says; this tells which one to open."
    summary = f"{len(parts)} documents, what each is about"
    yield from _listed("concepts/documents", "Which document tells what", lead, summary, parts)


def _modules(reading: _Reading) -> Iterator[Made]:
    chosen = [name for name in reading.names if sources.language_of(name) and not sources.aside(name)]
    chosen = sorted(sorted(chosen, key=lambda name: name.count("/"))[:MODULES])
    folders: dict[str, dict[str, str]] = {}
    for number, name in enumerate(chosen):
        reading.progress("modules", number, len(chosen))
        if said := sources.module_line(name, reading.text(name)):
            lines = folders.setdefault(posixpath.dirname(name) or ".", {})
            lines.setdefault(said, f"- {code(posixpath.basename(name), 120)}: {said}")
    parts = [part for folder, lines in sorted(folders.items()) for part in _folder(folder, list(lines.values()))]
    lead = "What the source files say of themselves in their first lines, and what they define."
    summary = f"{sum(map(len, folders.values()))} source files"
    yield from _listed("concepts/modules", "Which module does what", lead, summary, parts)


def _folder(folder: str, lines: Sequence[str]) -> Iterator[str]:
    for start in range(0, len(lines), 60):
        yield f"\n## {inline(folder, 160)}\n\n" + "\n".join(lines[start : start + 60]) + "\n"


def _listed(path: str, title: str, lead: str, summary: str, parts: Sequence[str]) -> Iterator[Made]:
    """Spread a list over pages, each short enough to be read."""
    heaps: list[list[str]] = [[]]
    for part in parts:
        if sum(map(len, heaps[-1])) + len(part) > FULL:
            heaps.append([])
        heaps[-1].append(part)
    for number, heap in enumerate(heaps[:PARTS], 1):
        mark, told = (f"-{number}", f" ({number})") if number > 1 else ("", "")
        body = f"{lead}\n\n" + "\n".join(heap) if heap else ""
        yield Made(f"{path}{mark}.md", f"{title}{told}", summary, body.replace("\n\n\n", "\n\n"))


# --- of history


def _of_history(
    reading: _Reading, commits: Sequence[RepoCommit], tags: Sequence[tuple[str, datetime]]
) -> Iterator[Made]:
    if not commits:
        return
    for path, title, lead, summary, found in (
        (
            "gotchas/reverted.md",
            "What was reverted, and why",
            "Read this before trying the same again. Newest first; the words are those of the commit messages.",
            "{} changes were taken back",
            history.reverts(commits),
        ),
        (
            "gotchas/past-bugs.md",
            "Bugs of the past and what was behind them",
            "Fixes whose commit messages explain the cause; newest first.",
            "{} bugs with their causes",
            history.bugs(commits),
        ),
        (
            "decisions/from-history.md",
            "Decisions in the commit history",
            "Decisions and their reasons as commit messages tell them; newest first. They may have been changed since.",
            "{} decisions with reasons",
            history.decisions(commits),
        ),
    ):
        if found.entries:
            yield Made(path, title, summary.format(found.entries), f"{lead}\n\n{found.body}")
    body = history.activity(commits, tags, reading.names)
    title = "Where work happens: files that change most"
    yield Made("concepts/activity.md", title, "Hot files, people, releases, style of commits", body)
