"""A user's own branches, tags and stashes in a wiki, when its history gives way to one from which something was erased
on another machine: what that was is not told here, so nothing may lead to the old history any more.

What somebody did on a branch since is put on top of the new history as one commit, as `joining` does it with pages; a
stash becomes a branch. Killed anywhere, running again ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from datetime import datetime
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from ai_memory_mcp import wiki_git
from ai_memory_mcp.gitlog import header
from ai_memory_mcp.joining import Gone, Judge, Line, Plan
from ai_memory_mcp.wiki_rewrite import Stash, in_words, keep_stashes, others, stashes

if TYPE_CHECKING:
    from dulwich.objects import ObjectID
    from dulwich.repo import Repo

_HEADS = b"refs/heads/"
_COMMIT, _TAG = 1, 4  # kinds of objects, as git numbers them


class _Own(wiki_git.Three):
    """A branch of the user's: what it misses, or the new history does, was taken out."""

    def removed_on_purpose(self, path: str, *, here: bool) -> bool:
        return True


class _Made(NamedTuple):
    """The commit in place of another one, and whether that had anything of its own."""

    commit: ObjectID
    own: bool


class Others:
    """What leads to our history, which does not go on, is put on top of the other one (`theirs`)."""

    def __init__(
        self,
        repo: Repo,
        inside: Callable[[str], bool],
        theirs: ObjectID,
        judge: Judge,
        *,
        line: Line,
        gone: Gone,
        large: Container[str],
        when: datetime,
    ) -> None:
        self._repo, self._inside, self._theirs, self._judge, self._line = repo, inside, theirs, judge, line
        self._gone, self._large, self._when = gone, large, when
        base = wiki_git.oid(bytes.fromhex(line.base)) if line.base else None
        self._before = base if base is not None and base in repo.object_store else wiki_git.head_of(repo)

    def bring_over(self, *, dry_run: bool = False) -> dict[str, str]:
        """Do it, or only tell of it; returns what becomes of each, in words."""
        told: dict[str, str] = {}
        for name, sha in others(self._repo).items():
            made = self._made(sha, store=not dry_run)
            if made is None:
                continue
            if made.own:
                told[in_words(name)] = "what is its own is one commit on top of the new history"
            elif name.startswith(_HEADS):
                told[in_words(name)] = "moved to the new history"
            else:
                told[in_words(name)] = "removed: the version that it names is no more"
            if not dry_run:
                self._set(name, sha, made.commit if made.own or name.startswith(_HEADS) else None)
        return {**told, **self._stashes(dry_run=dry_run)}

    def _stashes(self, *, dry_run: bool) -> dict[str, str]:
        told: dict[str, str] = {}
        kept: list[Stash] = []
        every = stashes(self._repo)
        for number, one in enumerate(reversed(every)):
            made = self._made(one.commit, store=not dry_run)
            if made is None:
                kept.insert(0, one)
                continue
            untracked = header(wiki_git.read_object(self._repo, one.commit)).parents[2:]
            branches = [(f"stash-{number}", made.commit)] if made.own else []
            branches += [(f"stash-{number}-untracked", wiki_git.oid(bytes.fromhex(sha))) for sha in untracked]
            named = [self._branch(name, commit, dry_run=dry_run) for name, commit in branches]
            told[f"stash {number}"] = f"a branch now: {', '.join(named)}" if named else "removed: nothing is left in it"
        if told and not dry_run:
            keep_stashes(self._repo, kept)
        return told

    def _branch(self, name: str, commit: ObjectID, *, dry_run: bool) -> str:
        """Make a branch, unless there is the same; returns its name."""
        from dulwich.refs import Ref

        names = (f"{name}-{again}" if again else name for again in count())
        known = {bytes(branch): sha for branch, sha in self._repo.refs.as_dict(Ref(_HEADS)).items()}
        free = next(one for one in names if known.get(one.encode(), commit) == commit)
        if not dry_run:
            self._repo.refs[Ref(_HEADS + free.encode())] = commit
        return free

    def _set(self, name: bytes, was: bytes, commit: ObjectID | None) -> None:
        from dulwich.refs import Ref

        if commit:
            self._repo.refs.set_if_equals(Ref(name), wiki_git.oid(was), commit)
        else:
            self._repo.refs.remove_if_equals(Ref(name), wiki_git.oid(was))

    def _made(self, sha: bytes, *, store: bool) -> _Made | None:
        """Return what replaces what a reference leads to, None where nothing of the old history is in that."""
        from dulwich.graph import can_fast_forward

        commit = self._commit(sha)
        shared = wiki_git.common(self._repo, commit, self._before) if commit and self._before else None
        if commit is None or shared is None or can_fast_forward(self._repo, shared, self._theirs):
            return None
        line = self._line._replace(base=shared.decode(), words="")
        three = _Own(self._inside, self._repo, commit, self._theirs, line)
        new: list[wiki_git.GitObject] = []
        made = three.commit(Plan(three, self._judge, self._large, self._gone), new, self._when)
        if store:
            wiki_git.store_objects(self._repo, new)
        return _Made(made, wiki_git.root_of(self._repo, commit) != wiki_git.root_of(self._repo, shared))

    def _commit(self, sha: bytes) -> ObjectID | None:
        """Return the commit that a reference leads to, None where it is something else."""
        kind, raw = self._repo.object_store.get_raw(wiki_git.oid(sha))
        while kind == _TAG:
            sha = bytes.fromhex(raw.partition(b"\n")[0][7:].decode())
            kind, raw = self._repo.object_store.get_raw(wiki_git.oid(sha))
        return wiki_git.oid(sha) if kind == _COMMIT else None
