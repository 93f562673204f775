"""Sync: the wikis of projects to and from a git remote, each a branch `<workspace>/<project>`.

What a branch holds says its `project.md`: a branch of another project is never merged, whatever it is called. Fetch
and push happen outside the wiki's lock, the merge inside. Journals stay where they are; pages, sessions' and handoffs'
among them, travel.
"""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import Field, ValidationError

from ai_memory_mcp import ingest, joining, markdown, merging, pages, registry, reindex, sync_state
from ai_memory_mcp.config import remote_fault
from ai_memory_mcp.errors import AiMemoryError, InputError, SyncError
from ai_memory_mcp.files import private_dir, remove, write_atomic
from ai_memory_mcp.gitremote import Remote, shown
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Project, Synced, SyncReport, SyncStatus, Value
from ai_memory_mcp.project import workspace_id
from ai_memory_mcp.redact import Redactor
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sync_erased import GonePages, line_of, project_stone
from ai_memory_mcp.tombstones import Erasure, erasures
from ai_memory_mcp.wiki import Joined

TRIES = 8  # of a push, when others push at the same time
PAUSE = 0.4  # seconds between them, at most
MOST_TEXT = 2_000_000  # characters of a page that is merged line by line
INGEST_WAIT = 60.0  # seconds
_GENERATED = ("index", "lint")
_FORCED = (
    "something was erased for good, so the branch has to be replaced: allow forced pushes there, or remove the branch"
)


class _Known(Value):
    """Which project a commit of a branch belongs to, as its front page says."""

    id: str = ""
    workspace: str = ""
    text: str = ""


class _Cache(Value):
    """`cache/sync.json`: commit -> project, of branches that are no synced project's here."""

    commits: dict[str, _Known] = Field(default_factory=dict)


def run(
    res: Resources,
    projects: Sequence[Project],
    redactor: Redactor,
    *,
    env: Mapping[str, str],
    now: datetime,
    remote: str = "",
    discover: bool = False,
    dry_run: bool = False,
    wait: float = 60.0,
    stopped: Callable[[], bool] = lambda: False,
) -> SyncReport:
    """Sync projects with their remote, or with the one given; with `discover` also those that only the remote has.

    What goes wrong with one project is told in its part of the report. Raises InputError where no remote is known,
    BusyError while another sync is at it for longer than `wait` seconds.
    """
    if remote and (reason := remote_fault(remote)):
        raise InputError(f"the address given {reason}")
    config = res.config.sync
    if not (remote or config.remote or config.remotes):
        raise InputError(
            "no remote is set up, so nothing is synced; give one with --remote URL, or [sync] remote in config.toml"
        )
    with sync_state.lock(res, wait):
        work = _Run(res, redactor, env, now, dry_run, stopped)
        try:
            found = work.tell_of_erased({remote, config.remote, *config.remotes.values()} - {""})
            found += [work.sync(project, remote or _remote_of(res, project)) for project in projects]
            if discover and (everywhere := remote or config.remote):
                found += work.discover(everywhere, found)
        finally:
            work.close()
    return SyncReport(projects=tuple(found), dry_run=dry_run)


def status(res: Resources, project: Project) -> SyncStatus | None:
    """Return how it stands with the sync of a project, None where it was never synced."""
    state = sync_state.load(res, project.id)
    if state == sync_state.State():
        return None
    return SyncStatus(
        remote=state.remote,
        branch=state.branch,
        last=state.last,
        error=state.error,
        in_conflict=_still(res, project, state.in_conflict),
    )


def _of_users_own(others: Mapping[str, str]) -> str:
    """Say what becomes of what leads to a history that does not go on."""
    if not others:
        return ""
    told = "; ".join(f"{name}: {what}" for name, what in others.items())
    return f"something was erased on another machine; of your own in the wiki's git, {told}"


def _remote_of(res: Resources, project: Project) -> str:
    config = res.config.sync
    own = config.remotes.get(f"{project.workspace}/{project.name}") or config.remotes.get(project.name)
    return own or config.remote


class _Run:
    """One run over any number of projects."""

    def __init__(
        self,
        res: Resources,
        redactor: Redactor,
        env: Mapping[str, str],
        now: datetime,
        dry_run: bool,
        stopped: Callable[[], bool],
    ) -> None:
        self._res, self._redactor, self._env, self._now = res, redactor, env, now
        self._dry_run, self._stopped = dry_run, stopped
        self._remotes: dict[str, Remote] = {}
        self._branches: dict[str, dict[str, str]] = {}
        self._scratch = res.home / "cache" / "sync.git"
        shutil.rmtree(self._scratch, ignore_errors=True)  # who was killed has left it, with git's locks in it
        self._cache = _cached(res)
        self._looked_at: dict[str, _Known] = {}

    def close(self) -> None:
        """Throw away what was only fetched to look at it."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        if self._looked_at:
            private_dir(self._res.home / "cache")
            write_atomic(_cache_path(self._res), _Cache(commits=self._looked_at).model_dump_json().encode())

    def tell_of_erased(self, urls: Iterable[str]) -> list[Synced]:
        """Have the branches of projects that were erased here hold nothing any more, and say so."""
        found = []
        by_key = {sync_state.key(url): url for url in urls}
        for grave in sync_state.graves(self._res):
            if url := by_key.get(grave.key):
                told = Synced(project="(erased)", id=grave.project, workspace="", remote=shown(url), state="planned")
                if not self._dry_run:
                    told = told.model_copy(update=self._tell_of(grave, url))
                found.append(told)
        return found

    def _tell_of(self, grave: sync_state.Grave, url: str) -> dict[str, str]:
        try:
            tips = self._list(url)
            branch = next((one for one in tips if sync_state.branch_mark(one) == grave.branch), "")
            if branch:
                remote = self._remote(url)
                scratch = remote.scratch(self._scratch)
                commit = remote.grave(scratch, grave.message(), grave.at)
                if refused := remote.push(scratch, commit, branch, instead_of=tips[branch]):
                    return {"state": "failed", "note": f"{refused}; {_FORCED}"}
                tips[branch] = commit
        except SyncError as error:
            return {"state": "failed", "note": str(error)}
        sync_state.drop(self._res, grave)
        return {"state": "synced", "note": "its branch is empty now, and tells other machines that it was erased"}

    def sync(self, project: Project, url: str, branch: str = "", *, new: bool = False) -> Synced:
        """Sync one project; never raises what a person can act on."""
        told = Synced(project=project.name, id=project.id, workspace=project.workspace, state="failed", new=new)
        if not url:
            return told.model_copy(update={"state": "skipped", "note": "no remote is set up for it"})
        told = told.model_copy(update={"remote": shown(url)})
        try:
            return self._sync(project, url, branch, told)
        except AiMemoryError as error:
            if not self._dry_run and not new:
                state = sync_state.load(self._res, project.id).model_copy(update={"error": str(error)})
                sync_state.keep(self._res, project.id, state)
            return told.model_copy(update={"note": str(error)})

    def discover(self, url: str, done: Sequence[Synced]) -> list[Synced]:
        """Sync what only the remote has, or has under another name."""
        found: list[Synced] = []
        try:
            branches = self._list(url)
        except SyncError as error:
            return [_failed("", url, error)]
        for branch, tip in sorted(branches.items()):
            if branch.count("/") == 1 and branch not in {one.branch for one in done}:
                try:
                    told = self._owner(url, branch, tip)
                except SyncError as error:
                    found.append(_failed(branch, url, error))
                    continue
                if told.id and told.id not in {one.id for one in (*done, *found)}:
                    found.append(self._discovered(url, branch, told))
        return found

    def _discovered(self, url: str, branch: str, told: _Known) -> Synced:
        with self._res.index.read() as db:
            known = {project.id: project for project in rows.projects(db)}
        stone = self._res.tombstones.has("project", told.id)
        if stone and markdown.when_from(markdown.parse(told.text)[0].get("created"), stone.at) <= stone.at:
            note = "the project was erased for good here; remove that branch, or purge it on the machine that sends it"
            return _skipped(url, branch, told.id, note)
        if merged := next((one for one in known.values() if told.id in one.earlier_ids), None):
            note = f"it is part of {merged.workspace}/{merged.name} here; remove the branch once it is so everywhere"
            return _skipped(url, branch, told.id, note)
        if told.id not in known:
            project = registry.from_front_page(told.text, told.id, workspace_id(told.workspace))
            name = _free_name(project.name, project, known.values())
            return self.sync(project.model_copy(update={"name": name, "roots": ()}), url, branch, new=True)
        project = known[told.id]
        if project.workspace == told.workspace:
            return self.sync(project, url, branch)
        note = f"the project is in workspace {project.workspace} here, in {told.workspace} there"
        skipped = _skipped(url, branch, project.id, note)
        return skipped.model_copy(update={"project": project.name, "workspace": project.workspace})

    def _sync(self, project: Project, url: str, branch: str, told: Synced) -> Synced:
        remote, wiki = self._remote(url), self._res.wiki(project)
        new = told.new
        if self._dry_run and not wiki.folder.exists():
            return told.model_copy(update={"state": "planned", "branch": branch})
        git = wiki.prepare()
        if registry.own_roots(wiki.folder) is None and not self._dry_run:
            registry.keep_own_roots(wiki.folder, project.roots)
        if not new:
            pages.notice_edits(self._res, project, now=self._now)
        if sync_state.load(self._res, project.id).unclean and not self._dry_run:
            self._clean(project)
        config = self._res.config.sync
        tips = self._list(url)
        for attempt in range(TRIES):
            branch, tip = (branch, tips.get(branch, "")) if branch else self._choose(project, url, tips)
            told = told.model_copy(update={"branch": branch})
            if tip and config.pull:
                told = self._take(project, remote, git, branch, tip, told)
            head, instead = wiki.head(), tip == sync_state.load(self._res, project.id).replaced
            if self._dry_run:
                return told.model_copy(update={"state": "planned", "sent": head != tip and config.push})
            if head == tip or not config.push:
                self._done(project, url, branch, tip)
                changed = told.received or told.removed or told.sent
                return told.model_copy(update={"state": "synced" if changed else "unchanged"})
            refused = remote.push(git, head, branch, instead_of=tip if instead else "")
            if refused and instead:
                refused = f"{refused}; {_FORCED}"
            if not refused:
                tips[branch] = head
                told = told.model_copy(update={"sent": True})
                self._done(project, url, branch, head)
                return told.model_copy(update={"state": "synced"})
            if not config.pull or attempt == TRIES - 1:
                raise SyncError(refused)
            time.sleep(random.uniform(0.05, PAUSE))
            tips = self._branches[url] = remote.branches()
            if tips.get(branch, "") == tip and attempt > 1:  # nobody was quicker: it is refused
                raise SyncError(refused)
            if branch in tips and not self._is_ours(project, url, branch, tips[branch]):
                branch = ""  # somebody else made it just now
        raise SyncError(f"others pushed to {remote.shown} all the time; try again")

    def _take(self, project: Project, remote: Remote, git: Path, branch: str, tip: str, told: Synced) -> Synced:
        """Fetch and merge what a branch holds."""
        state, wiki = sync_state.load(self._res, project.id), self._res.wiki(project)
        head = wiki.head()
        if tip in (head, state.replaced):
            return told
        large: frozenset[str] = frozenset()
        line, news = joining.BOTH, list[Erasure]()
        if state.tip != tip or not head:
            self._remember(project, unclean=bool(state.replaced))
            tip = remote.fetch(git, branch)
            line, news = self._erased(project, remote, git, head, tip, state)
            self._check(project, remote, git, branch, tip)
            large = remote.large(git, tip, head)
        if line != joining.BOTH and not self._dry_run:
            self._remember(project, unclean=True)
            self._res.tombstones.add(stone for one in news for stone in one.stones)
        judge, gone = _Judge(self, project), GonePages(self._res, project, news)
        if not line.ours:
            others = wiki.bring_over(
                tip, _Judge(self, project), when=self._now, large=large, gone=gone, line=line, dry_run=self._dry_run
            )
            told = told.model_copy(update={"note": _of_users_own(others) or told.note})
        joined = wiki.join(tip, judge, when=self._now, large=large, gone=gone, line=line, dry_run=self._dry_run)
        if not self._dry_run:
            self._follow(project, joined, judge)
        if line != joining.BOTH and self._dry_run:
            wiki.drop_old()  # what was only looked at
        elif line != joining.BOTH:
            if not line.theirs:
                self._remember(project, replaced=tip)
            self._clean(project)
        return told.model_copy(
            update={
                "received": tuple(dict.fromkeys((*told.received, *joined.written))),
                "removed": tuple(dict.fromkeys((*told.removed, *joined.removed))),
                "kept": tuple(dict.fromkeys((*told.kept, *joined.kept))),
                "left_out": {**told.left_out, **joined.left_out},
                "in_conflict": tuple(dict.fromkeys((*told.in_conflict, *judge.in_conflict))),
            }
        )

    def _erased(
        self, project: Project, remote: Remote, git: Path, head: str, tip: str, state: sync_state.State
    ) -> tuple[joining.Line, list[Erasure]]:
        """Return which history goes on, and what the other one tells that was erased. Raises SyncError for all."""
        ours, theirs = (erasures(remote.erasures(git, one), project.id) for one in (head, tip))
        news = [one for name, one in theirs.items() if name not in ours]
        if stone := project_stone(news, project):
            raise SyncError(
                f"the project was erased for good on another machine, {stone.at:%Y-%m-%d}. To erase it here too, run:"
                f" ai-memory-mcp purge-project {project.name}; to keep it, remove its branch from {remote.shown}"
            )
        return line_of(ours, theirs, state), news

    def _clean(self, project: Project) -> None:
        """Leave nothing of what was erased on another machine, or was fetched and is erased here."""
        self._res.wiki(project).drop_old()
        with ingest.lock(self._res, INGEST_WAIT):
            reindex.rebuild(self._res)
        remove(self._res.home / "brief" / f"{project.id}.json")
        self._remember(project, unclean=False)

    def _remember(self, project: Project, **told: object) -> None:
        state = sync_state.load(self._res, project.id)
        if not self._dry_run and state != (changed := state.model_copy(update=told)):
            sync_state.keep(self._res, project.id, changed)

    def _follow(self, project: Project, joined: Joined, judge: _Judge) -> None:
        """Have the index say what the pages say now."""
        folder = self._res.wiki(project).folder
        front = registry.on_disk(folder)
        with self._res.index.read() as db:
            known = rows.project(db, project.id)
        if front != known:
            with self._res.index.write() as db:
                rows.put_project(db, front)
        if joined.written or joined.removed:
            pages.notice_edits(self._res, project, now=self._now)
        state = sync_state.load(self._res, project.id)
        found = {*_still(self._res, project, state.in_conflict), *judge.in_conflict, *judge.told_in_conflict}
        sync_state.keep(self._res, project.id, state.model_copy(update={"in_conflict": tuple(sorted(found))}))

    def _check(self, project: Project, remote: Remote, git: Path, branch: str, tip: str) -> None:
        told = _known(remote.text(git, tip, registry.FRONT_PAGE))
        if told.id != project.id or workspace_id(told.workspace) != project.workspace_id:
            raise SyncError(
                f"the branch {branch} of {remote.shown} holds another project now; nothing was taken. Rename that"
                " branch there, or remove it"
            )

    def _choose(self, project: Project, url: str, tips: Mapping[str, str]) -> tuple[str, str]:
        """Return the project's branch and its commit, '' for one that is yet to be made."""
        state = sync_state.load(self._res, project.id)
        if state.branch in tips and state.key == sync_state.key(url):
            return state.branch, tips[state.branch]
        by_folded = {branch.casefold(): branch for branch in tips}
        free = ""
        for name in branch_names(project):
            branch = by_folded.get(name.casefold(), "")
            if not branch:
                free = free or name
            elif self._is_ours(project, url, branch, tips[branch]):
                return branch, tips[branch]
        if not free:
            raise SyncError(f"every branch that {project.name} could have at {shown(url)} belongs to another project")
        return free, ""

    def _is_ours(self, project: Project, url: str, branch: str, tip: str) -> bool:
        state = sync_state.load(self._res, project.id)
        if state.branch == branch and tip in (state.tip, state.replaced) and state.key == sync_state.key(url):
            return True
        told = self._owner(url, branch, tip)
        return told.id == project.id and workspace_id(told.workspace) == project.workspace_id

    def _owner(self, url: str, branch: str, tip: str) -> _Known:
        """Say which project a branch belongs to; a look at it costs a fetch, once."""
        known = self._looked_at.get(tip) or self._cache.commits.get(tip)
        if known is None:
            remote = self._remote(url)
            folder = remote.scratch(self._scratch)
            known = _known(remote.text(folder, remote.fetch(folder, branch, shallow=True), registry.FRONT_PAGE))
        self._looked_at[tip] = known
        return known

    def _list(self, url: str) -> dict[str, str]:
        if url not in self._branches:
            self._branches[url] = self._remote(url).branches()
        return self._branches[url]

    def _remote(self, url: str) -> Remote:
        if url not in self._remotes:
            self._remotes[url] = Remote(url, self._env, self._stopped)
        return self._remotes[url]

    def _done(self, project: Project, url: str, branch: str, tip: str) -> None:
        state = sync_state.load(self._res, project.id)
        told = {"key": sync_state.key(url), "remote": shown(url), "branch": branch, "last": self._now, "error": ""}
        if not state.replaced or tip != state.replaced:  # else the remote is yet to be told
            told |= {"tip": tip, "replaced": ""}
        sync_state.keep(self._res, project.id, state.model_copy(update=told))

    def clean(self, data: bytes) -> str:
        """Return the text of a page from elsewhere without secrets."""
        return self._redactor.text(data.decode("utf-8", "surrogateescape"))

    def free_name(self, name: str, project: Project) -> str:
        """Return a name that no other project of the workspace has here."""
        with self._res.index.read() as db:
            return _free_name(name, project, rows.projects(db))


class _Judge:
    """Says what a page is to be that the other side has changed."""

    def __init__(self, run: _Run, project: Project) -> None:
        self._run, self._project = run, project
        self.in_conflict: list[str] = []  # new ones
        self.told_in_conflict: list[str] = []  # those that came so

    def __call__(self, path: str, base: bytes | None, ours: bytes | None, theirs: bytes) -> bytes:
        text = self._run.clean(theirs)
        mine, was = (None if data is None else data.decode("utf-8", "surrogateescape") for data in (ours, base))
        if path == registry.FRONT_PAGE:
            text = self._front_page(text, mine)
            mine = self._renamed(mine, text) if mine and was is None else mine
        if mine is None or mine == was or (_generated(path, mine) and _generated(path, text)):
            if merging.has_conflict(text):
                self.told_in_conflict.append(path)
            return text.encode("utf-8", "surrogateescape")
        if len(mine) + len(text) > MOST_TEXT:
            merged = merging.side_by_side(mine, text)
        else:
            merged = merging.merge(was, mine, text)
        if path == registry.FRONT_PAGE:
            merged = merging.Merged(markdown.set_keys(merged.text, {merging.CONFLICT: None}))
        if merged.conflict:
            self.in_conflict.append(path)
        return merged.text.encode("utf-8", "surrogateescape")

    def _renamed(self, mine: str, text: str) -> str:
        """Return our front page under the name that the other side has given the project since."""
        meta = markdown.parse(text)[0]
        theirs = registry.from_front_page(text, self._project.id, self._project.workspace_id)
        renamed = f"{self._project.workspace}/{self._project.name}" in theirs.earlier_names
        return markdown.set_keys(mine, {"title": meta.get("title")}) if renamed else mine

    def _front_page(self, text: str, mine: str | None) -> str:
        """Return another machine's front page with what is settled here: which project it is, and a name of its own."""
        meta = markdown.parse(text)[0]
        project = self._project
        settled: dict[str, object] = {
            "id": project.id,
            "workspace": project.workspace,
            "workspace_id": project.workspace_id,
        }
        title = str(meta.get("title") or project.name)
        settled["title"] = self._run.free_name(title, project)
        changed = {key: value for key, value in settled.items() if meta.get(key) != value}
        return markdown.set_keys(text, changed) if changed else text


def _generated(path: str, text: str) -> bool:
    """Tell whether a page is made anew from the others, so that nothing in it can be lost."""
    made = path == "index.md" or path.startswith("_lint/")
    return made and markdown.parse(text)[0].get("kind") in _GENERATED


def branch_names(project: Project) -> list[str]:
    """Return the names that a project's branch may have, best first. Other machines may know the project by another
    name (`app`, where here that is another one's and it is called `app-1a2b`); they find the same ones."""
    marks = [hashlib.sha256(remote.encode("utf-8", "replace")).hexdigest() for remote in project.remotes]
    plain = project.name
    for mark in marks:
        for end in (f"-{mark[:4]}", f"-{mark[:12]}"):
            plain = plain.removesuffix(end)
    told = [project.name, plain, *(f"{plain}-{mark[:length]}" for mark in marks for length in (4, 12))]
    told += [old.partition("/")[2] for old in project.earlier_names if old.startswith(f"{project.workspace}/")]
    told.append(f"{plain}-{project.id[:8]}")
    return [f"{ref_part(project.workspace)}/{ref_part(name)}" for name in dict.fromkeys(told)]


def ref_part(name: str) -> str:
    """Return a name as git takes it as a part of a branch's; two different names never become one."""
    plain = re.sub(r"[^\w.+=-]+|\.{2,}", "-", name).strip("-.")
    plain = plain.removesuffix(".lock")[:80]
    if plain == name:
        return plain
    return f"{plain or 'project'}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _known(text: str) -> _Known:
    """Read which project a front page is of; nobody's where it does not say so, or lies."""
    meta = markdown.parse(text)[0]
    workspace, told = str(meta.get("workspace") or ""), str(meta.get("id") or "")
    with suppress(ValueError):
        proper = str(uuid.UUID(told)) == told and meta.get("workspace_id") == workspace_id(workspace)
        if proper and meta.get("kind") == "project" and workspace.isprintable() and "/" not in workspace:
            return _Known(id=told, workspace=workspace, text=text)
    return _Known()


def _skipped(url: str, branch: str, project_id: str, note: str) -> Synced:
    return Synced(
        project=branch, id=project_id, workspace="", remote=shown(url), branch=branch, state="skipped", note=note
    )


def _failed(branch: str, url: str, error: Exception) -> Synced:
    return Synced(
        project=branch, id="", workspace="", remote=shown(url), branch=branch, state="failed", note=str(error)
    )


def _free_name(name: str, project: Project, known: Iterable[Project]) -> str:
    """Return the name, or one like it where another project of the workspace is called so here."""
    taken = {one.name for one in known if one.id != project.id and one.workspace_id == project.workspace_id}
    return next(one for one in (name, project.name, f"{name}-{project.id[:8]}", project.id) if one not in taken)


def _still(res: Resources, project: Project, paths: Sequence[str]) -> tuple[str, ...]:
    """Return those pages that still hold both versions of something."""
    found = []
    for path in paths:
        with suppress(AiMemoryError):
            if merging.has_conflict(pages.load(res, project, path)[1]):
                found.append(path)
    return tuple(found)


def _cache_path(res: Resources) -> Path:
    return res.home / "cache" / "sync.json"


def _cached(res: Resources) -> _Cache:
    try:
        return _Cache.model_validate_json(_cache_path(res).read_bytes())
    except (OSError, ValidationError):
        return _Cache()
