"""Which known project a folder is, and making a new one known. `project.md` of each wiki is the record; the index
only repeats it."""

from __future__ import annotations

import difflib
import os
import uuid
from collections.abc import Sequence
from datetime import datetime

from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Page, Project, Resolved, Scope
from ai_memory_mcp.project import (
    DEFAULT_WORKSPACE,
    GENERAL,
    NAMESPACE,
    Identity,
    identify,
    named_id,
    remember_identity,
    workspace_id,
)
from ai_memory_mcp.resources import Resources

FRONT_PAGE = "project.md"


def find(identity: Identity, known: Sequence[Project]) -> Project | None:
    """Return the known project that an identity means: by id, by a remote it is known under, by its folder."""
    for project in known:
        if identity.id and project.id == identity.id:
            return project
    for project in known:
        if identity.remote and identity.remote in project.remotes:
            return project
    if identity.by in ("folder", "repository") and not identity.id:
        for project in known:
            if identity.root in project.roots:
                return project
    return None


def resolve(res: Resources, scope: Scope) -> Resolved:
    """Say which project a scope means. Raises ProjectError for a named one that does not exist."""
    with res.index.read() as db:
        known = rows.projects(db)
    if scope.project:
        project = by_name(scope.project, scope.workspace, known)
        return Resolved(project=project, workspace=project.workspace, root="", by="named")
    identity = identify(scope.cwd, res.user_home)
    if identity.by == "none" and not scope.workspace:
        return Resolved(project=None, workspace=identity.workspace, root="", by="none")
    found = find(identity, known) or _not_yet(identity, known)
    if scope.workspace and (identity.by == "none" or scope.workspace != found.workspace):
        _check_workspace(scope.workspace, known)
        return Resolved(project=None, workspace=scope.workspace, root="", by="named")
    return Resolved(project=found, workspace=found.workspace, root=identity.root, by=identity.by)


def _check_workspace(workspace: str, known: Sequence[Project]) -> None:
    names = {DEFAULT_WORKSPACE, *(project.workspace for project in known)}
    if workspace not in names:
        close = difflib.get_close_matches(workspace, sorted(names), n=3, cutoff=0.5) or sorted(names)
        raise ProjectError(f"there is no workspace '{workspace}'; did you mean {' or '.join(close)}?")


def by_name(name: str, workspace: str, known: Sequence[Project]) -> Project:
    """Return the project with this name or id. Raises ProjectError with "did you mean"."""
    told_workspace, slash, short = name.partition("/")
    if slash:
        workspace, name = told_workspace, short
    here = [project for project in known if not workspace or project.workspace == workspace]
    found = [project for project in here if name in (project.name, project.id)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ProjectError(
            f"'{name}' is in several workspaces; say " + " or ".join(f"{p.workspace}/{p.name}" for p in found)
        )
    if name == GENERAL:
        return general(workspace or "default")
    close = difflib.get_close_matches(name, [project.name for project in here], n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`ai-memory-mcp projects` lists the known ones"
    raise ProjectError(f"there is no project '{name}'; {hint}")


def general(workspace: str) -> Project:
    """Return the workspace's own project, for what belongs to no folder."""
    return Project(
        id=named_id(workspace, GENERAL), name=GENERAL, workspace=workspace, workspace_id=workspace_id(workspace)
    )


def make_known(res: Resources, identity: Identity, known: Sequence[Project], *, now: datetime) -> Project:
    """Return the project of an identity, recorded with this root and remote; made when it is new."""
    found = find(identity, known)
    project = found or _new(identity, known)
    if not found and not identity.id:
        remember_identity(identity, project.id)
    roots = project.roots if not identity.root or identity.root in project.roots else (*project.roots, identity.root)
    remotes = project.remotes
    if identity.remote and identity.remote not in remotes:
        remotes = (*remotes, identity.remote)
    updated = project.model_copy(update={"roots": roots, "remotes": remotes})
    if found is None or updated != found or not (res.wiki(updated).folder / FRONT_PAGE).exists():
        record(res, updated, now=now)
    return updated


def record(res: Resources, project: Project, *, now: datetime) -> None:
    """Write the project's front page and index the project: in this order, for the page is what it is rebuilt from."""
    previous = ""
    wiki = res.wiki(project)
    if (wiki.folder / FRONT_PAGE).exists():
        previous = wiki.read(FRONT_PAGE).decode("utf-8", "replace")
    text = front_page(project, previous, now=now)
    pages.save(res, project, {FRONT_PAGE: text}, f"Project {project.name}", when=now)
    with res.index.write() as db:
        rows.put_project(db, project)


def front_page(project: Project, previous: str, *, now: datetime) -> str:
    """Return `project.md`: what the registry is rebuilt from, and a word to whoever opens the folder."""
    old_meta, old_body = markdown.parse(previous)
    body = old_body or (
        f"# {project.name}\n\nThis folder is the memory of one project: plain Markdown in a git repository of\n"
        "its own. Edit, link and commit as you like; pages changed by hand are noticed.\n"
    )
    page = Page(
        id=project.id,
        path=FRONT_PAGE,
        title=project.name,
        kind="project",
        project=project.id,
        body=body,
        created=markdown.when_from(old_meta.get("created"), now),
        updated=now,
    )
    keys = {
        "workspace": project.workspace,
        "workspace_id": project.workspace_id,
        "roots": project.roots or None,
        "remotes": project.remotes or None,
    }
    return markdown.set_keys(markdown.text_from(page, previous), keys)


def from_front_page(text: str, project_id: str, workspace_id_: str) -> Project:
    """Read a project back from its front page; the folder's names are the ids."""
    meta, _ = markdown.parse(text)
    return Project(
        id=project_id,
        name=str(meta.get("title") or project_id),
        workspace=str(meta.get("workspace") or "default"),
        workspace_id=workspace_id_,
        roots=_texts(meta.get("roots")),
        remotes=_texts(meta.get("remotes")),
    )


def _new(identity: Identity, known: Sequence[Project]) -> Project:
    """Return the project that an unknown identity would become. Random ids are told apart by the registry alone."""
    name = identity.name or os.path.basename(identity.root) or GENERAL
    project_id = identity.id or str(uuid.uuid4())
    if any(project.name == name and project.workspace == identity.workspace for project in known):
        name = f"{name}-{project_id[:4]}"
    return Project(
        id=project_id, name=name, workspace=identity.workspace, workspace_id=workspace_id(identity.workspace)
    )


def _not_yet(identity: Identity, known: Sequence[Project]) -> Project:
    """Return a stand-in for a project that nothing was stored for: the same at every look, never recorded."""
    stand_in = str(uuid.uuid5(NAMESPACE, f"unknown:{identity.root}"))
    return _new(identity, known).model_copy(update={"id": identity.id or stand_in})


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
