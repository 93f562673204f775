"""What is erased for good on one machine is erased on those that sync with it, and what still holds it is not taken.

A history that was rewritten says so in a commit (`tombstones.Erasure`). One that does not lead to such a commit of the
other may hold what is gone: it does not go on, only what its pages say does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone

from ai_memory_mcp import markdown
from ai_memory_mcp.gitlog import is_page
from ai_memory_mcp.joining import BOTH, Line
from ai_memory_mcp.model import Project
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sync_state import State
from ai_memory_mcp.tombstones import Erasure, Tombstone, path_mark

_EPOCH = datetime.fromtimestamp(0, timezone.utc)
_Stones = Mapping[tuple[str, str], Tombstone]


def line_of(ours: Mapping[str, Erasure], theirs: Mapping[str, Erasure], state: State) -> Line:
    """Say which history goes on, from what each of them tells of erasures."""
    missed, untold = theirs.keys() - ours.keys(), ours.keys() - theirs.keys()
    if not missed and not untold:
        return BOTH
    if missed and untold:  # both hold what the other has erased: it begins anew
        every = {**ours, **theirs}.values()
        return Line(ours=False, theirs=False, words="\n".join(one.lines() for one in every))
    return Line(ours=not missed, theirs=not untold, base=state.tip or state.replaced)


def project_stone(told: Iterable[Erasure], project: Project) -> Tombstone | None:
    """Return what says that the whole project was erased."""
    stones = (stone for one in told for stone in one.stones)
    return next((one for one in stones if (one.kind, one.id) == ("project", project.id)), None)


class GonePages:
    """Knows the pages of a project that were taken out of memory here, and those that the other side has just `told`
    of: the latter may not stay here, either. See `joining.Gone`.

    One that was written anew since then may come: it has another id, or is newer than a path's tombstone.
    """

    def __init__(self, res: Resources, project: Project, told: Iterable[Erasure]) -> None:
        self._folder, self._project = res.wiki(project).folder, project.id
        self._told: _Stones = {(one.kind, one.id): one for erasure in told for one in erasure.stones}
        known = [one for one in res.tombstones.of(project.id) if one.why != "lifted"]
        self._known: _Stones = {**{(one.kind, one.id): one for one in known}, **self._told}

    def __call__(self, path: str, read: Callable[[], bytes], *, here: bool) -> str:
        """Say why a page must not be there, '' when it may."""
        stones = self._told if here else self._known
        marked = stones.get(("path", path_mark(self._project, path)))
        if not marked and not (is_page(path) and any(kind == "page" for kind, _ in stones)):
            return ""
        meta = markdown.parse(read().decode("utf-8", "replace"))[0] if is_page(path) else {}
        page = stones.get(("page", str(meta.get("id", ""))))
        updated = markdown.when_from(meta.get("updated"), _EPOCH)
        if page and page.why == "erased":
            return "it was erased for good"
        if marked and marked.why == "erased" and updated <= marked.at:
            return "it was erased for good"
        older = any(one and one.why != "erased" and updated <= one.at for one in (page, marked))
        return "it was taken out of memory here" if older and not (self._folder / path).exists() else ""
