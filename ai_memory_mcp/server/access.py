"""What a token may do: a `Memory` that refuses everything else. HTTP and MCP callers get no other.

A method that only `Memory` has learnt is refused to tokens that are bound or may only read, until this module or
`endpoints.only_reads` says more. Folders of the caller are never looked at here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from ai_memory_mcp.endpoints import METHODS, endpoint, only_reads
from ai_memory_mcp.errors import AccessError, NotFoundError, ProjectError
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Activity, Document, Figures, Project, Query, Scope, Status

UNTOLD = -1  # a process that nobody has


class Access(NamedTuple):
    """Who asks, and what they may: everything in these workspaces (in all where none is named), or only look."""

    name: str
    read_only: bool = False
    workspaces: tuple[str, ...] = ()


def guarded(memory: Memory, access: Access) -> Memory:
    """Return the memory as this access may use it."""
    return cast(Memory, _Guarded(memory, access))


def require(access: Access, name: str, given: Mapping[str, Any] | None = None) -> None:
    """Raise AccessError for a method that would change something, where only looking is allowed."""
    if access.read_only and not only_reads(name, given or {}):
        raise AccessError(f"the token '{access.name}' may only read")


def call(memory: Memory, access: Access, name: str, given: Mapping[str, Any]) -> Any:
    """Call a method of `Memory` for somebody. Raises AccessError, and what the method raises."""
    require(access, name, given)
    values = {key: _elsewhere(value) for key, value in given.items()}
    if access.workspaces:
        return _bound(memory, access, name, values)
    return getattr(memory, name)(**values)


def arguments(access: Access, name: str, body: bytes) -> dict[str, Any]:
    """Return the arguments that somebody gives a method of `Memory` as JSON. Raises AccessError where the method is not
    for them, ValidationError."""
    told = endpoint(name).arguments.model_validate_json(body or b"{}")
    given = {field: getattr(told, field) for field in type(told).model_fields}
    require(access, name, given)
    return given


def answer(memory: Memory, access: Access, name: str, given: Mapping[str, Any]) -> bytes:
    """Call a method of `Memory` for somebody, see `call`; returns JSON."""
    return endpoint(name).result.dump_json(call(memory, access, name, given))


def malformed(error: ValidationError) -> str:
    """Say what is wrong with arguments, without what they were."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")


class _Guarded:
    def __init__(self, memory: Memory, access: Access) -> None:
        self._memory = memory
        self._access = access

    def __getattr__(self, name: str) -> Callable[..., Any]:
        bound = signature(METHODS[name])

        def ask(*args: Any, **kwargs: Any) -> Any:
            given = bound.bind(self, *args, **kwargs).arguments
            return call(self._memory, self._access, name, {key: value for key, value in given.items() if key != "self"})

        return ask


def _elsewhere(value: Any) -> Any:
    """Return an argument without what would be looked for on this machine."""
    if not isinstance(value, Scope):
        return value
    return value.model_copy(update={"cwd": "", "pid": value.pid if value.pid >= 2**32 else UNTOLD})


# --- tokens that are bound to workspaces


def _bound(memory: Memory, access: Access, name: str, values: dict[str, Any]) -> Any:
    if name in _UNSCOPED:
        return _UNSCOPED[name](memory, access, getattr(memory, name)(**values))
    if name in _ACROSS or not isinstance(values.get("scope"), Scope):
        raise AccessError(f"the token '{access.name}' is bound to {_names(access)}; this concerns all workspaces")
    scope = _narrowed(memory, access, values["scope"])
    query = values.get("query")
    if isinstance(query, Query) and query.everywhere:  # that is: in all of the workspace
        values["query"] = query.model_copy(update={"everywhere": False})
        scope = Scope(workspace=scope.workspace, pid=scope.pid)
    result = getattr(memory, name)(**{**values, "scope": scope})
    return _FILTERS[name](memory, access, result) if name in _FILTERS else result


def _narrowed(memory: Memory, access: Access, scope: Scope) -> Scope:
    """Return the scope with its workspace said, so that nothing of another one is looked at. Raises AccessError."""
    nowhere = not scope.project and (scope.origin is None or scope.origin.by == "none")
    if nowhere and not scope.workspace:
        scope = scope.model_copy(update={"workspace": access.workspaces[0], "origin": None})
    workspace = scope.workspace
    if workspace and workspace not in access.workspaces:
        raise AccessError(f"the token '{access.name}' is bound to {_names(access)}")
    try:
        workspace = memory.resolve(scope).workspace
    except ProjectError:  # its words may name projects of others
        if nowhere:
            raise NotFoundError(f"there is nothing in the workspace {workspace} yet") from None
        raise ProjectError(f"there is no project '{scope.project}' that the token '{access.name}' may see") from None
    if workspace not in access.workspaces:
        raise AccessError(f"the token '{access.name}' is bound to {_names(access)}; this is in another workspace")
    return scope.model_copy(update={"workspace": workspace})


def _names(access: Access) -> str:
    return " and ".join(access.workspaces)


def _projects(memory: Memory, access: Access, found: tuple[Project, ...]) -> tuple[Project, ...]:
    return tuple(project for project in found if project.workspace in access.workspaces)


def _document(memory: Memory, access: Access, found: Document) -> Document:
    owner = found.page.project if found.page else found.session.project if found.session else ""
    if owner and owner not in {project.id for project in _projects(memory, access, memory.projects())}:
        raise NotFoundError(f"there is no page or session '{found.ref}'")
    return found


def _status(memory: Memory, access: Access, found: Status) -> Status:
    """What is not counted by workspace is nobody's business who may see one only."""
    told = found.figures
    figures = Figures(day=_own(told.day), week=_own(told.week), junk=told.junk) if told else None
    spool = dict.fromkeys(found.spool, 0)
    return found.model_copy(update={"home": "", "problems": (), "spool": spool, "figures": figures})


def _own(activity: Activity) -> Activity:
    return activity.model_copy(update={"bytes": None})


_ACROSS = ("move_project", "merge_projects")  # another workspace may be named
_UNSCOPED: dict[str, Callable[..., Any]] = {"projects": _projects, "ingest": lambda memory, access, report: report}
_FILTERS: dict[str, Callable[..., Any]] = {"read": _document, "status": _status}
EVERYBODY = Access("anybody")  # on loopback, while there are no tokens
