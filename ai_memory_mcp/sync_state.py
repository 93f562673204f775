"""What is remembered of syncs: `sync/<project id>.json`; and `sync/erased/<project id>.json` of a project that was
erased for good, as long as its remote does not know: no name of it is kept there."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from ai_memory_mcp.files import locked, private_dir, remove, write_atomic
from ai_memory_mcp.model import Value
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.tombstones import Erasure, Tombstone


class State(Value):
    """What is remembered of a project's sync.

    `tip` is the commit of the branch that is merged here. What was so before something of it was erased here is
    `replaced`: that is what the remote may still hold, and what is here is to be put in its place. `unclean`: what was
    erased on another machine may still be in the wiki's repository or in the index.
    """

    key: str = ""  # of the remote
    remote: str = ""
    branch: str = ""
    tip: str = ""
    replaced: str = ""
    unclean: bool = False
    last: datetime | None = None
    error: str = ""
    in_conflict: tuple[str, ...] = ()


class Grave(Value):
    """A project that is gone, and where its branch is: `key` of the remote, check sum of the branch's name."""

    project: str
    erasure: str
    key: str
    branch: str
    at: datetime

    def message(self) -> str:
        """Return what the branch is to say."""
        stone = Tombstone(kind="project", id=self.project, why="erased", at=self.at)
        return Erasure(self.erasure, self.at, (stone,)).message()


def lock(res: Resources, timeout: float) -> AbstractContextManager[bool]:
    """Return the lock that one sync at a time holds. Order: sync, consolidate, ingest, handoff, wiki, index."""
    return locked(res.home / "locks" / "sync.lock", timeout=timeout)


def key(url: str) -> str:
    """Return what stands for the address of a remote."""
    return hashlib.sha256(url.encode("utf-8", "replace")).hexdigest()[:16]


def branch_mark(branch: str) -> str:
    """Return what stands for the name of a branch: it says nothing to who does not know it."""
    return hashlib.sha256(branch.encode("utf-8", "replace")).hexdigest()[:32]


def load(res: Resources, project_id: str) -> State:
    """Return what is remembered of a project."""
    try:
        return State.model_validate_json(_path(res, project_id).read_bytes())
    except (OSError, ValidationError):
        return State()


def keep(res: Resources, project_id: str, state: State) -> None:
    """Remember it. Raises StorageError."""
    private_dir(res.home / "sync")
    write_atomic(_path(res, project_id), json.dumps(state.model_dump(mode="json"), indent=1).encode())


def note_erased(res: Resources, project_id: str) -> None:
    """Have the next sync put what is here in place of what the remote holds, see `State`. Raises StorageError."""
    state = load(res, project_id)
    if state.tip or state.error or state.in_conflict:  # those name pages
        told = {"tip": "", "replaced": state.tip or state.replaced, "error": "", "in_conflict": ()}
        keep(res, project_id, state.model_copy(update=told))


def bury(res: Resources, project_id: str, erasure: str, at: datetime) -> None:
    """Forget the sync of a project that is gone; the next one tells its remote. Raises StorageError."""
    state = load(res, project_id)
    if state.branch:
        grave = Grave(project=project_id, erasure=erasure, key=state.key, branch=branch_mark(state.branch), at=at)
        private_dir(_graves(res))
        write_atomic(_graves(res) / f"{project_id}.json", grave.model_dump_json().encode(), durable=True)
    remove(_path(res, project_id))


def graves(res: Resources) -> list[Grave]:
    """Return the projects that are gone and whose remotes do not know it yet."""
    found = []
    for path in sorted(_graves(res).glob("*.json")):
        try:
            found.append(Grave.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError):
            continue
    return found


def drop(res: Resources, grave: Grave) -> None:
    """Forget a project for good: its remote knows."""
    remove(_graves(res) / f"{grave.project}.json")


def _graves(res: Resources) -> Path:
    return res.home / "sync" / "erased"


def _path(res: Resources, project_id: str) -> Path:
    return res.home / "sync" / f"{project_id}.json"
