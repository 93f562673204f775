"""Which known project a folder is, and making a new one known. `project.md` of each wiki is the record; the index
only repeats it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ai_memory_mcp import markdown, pages
from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.files import locked, write_atomic
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Page, Project, Resolved, Scope
from ai_memory_mcp.project import (
    DEFAULT_WORKSPACE,
    GENERAL,
    NAMESPACE,
    Identity,
    Repository,
    from_origin,
    identify,
    keep_id,
    named_id,
    remote_id,
    repository,
    workspace_id,
)
from ai_memory_mcp.resources import Resources

FRONT_PAGE = "project.md"
_ROOTS = ".git/ai-memory-roots"
LOCK_WAIT = 30.0


def find(identity: Identity, known: Sequence[Project]) -> Project | None:
    """Return the known project that an identity means: by id, by a remote it is known under, by the name that a
    marker gives, by its folder. A folder's word counts only where it cannot be another project's by now."""
    for project in known:
        if identity.id and project.id == identity.id:
            return project
    for project in known:
        if identity.id and identity.id in project.earlier_ids:
            return project
    for project in known:
        if identity.remote and identity.remote in project.remotes:
            return project
    if identity.by == "marker":
        return _by_any_name(f"{identity.workspace}/{identity.name}", known)
    for project in known:
        if _cloned_from(project, identity):
            return project
        if _known_here(project, identity) and (_is_gone(identity) or not _lives_elsewhere(project, identity)):
            return project
    return None


def _by_any_name(name: str, known: Sequence[Project]) -> Project | None:
    """Return the project that is called `workspace/name`, else the one that was."""
    called = (one for one in known if f"{one.workspace}/{one.name}" == name)
    return next(called, None) or next((one for one in known if name in one.earlier_names), None)


def of_gone(root: str, marker: str, known: Sequence[Project]) -> Project | None:
    """Return the project that a folder belonged to before it was removed."""
    place = os.path.dirname(marker) if len(marker) > len(root) else root
    if not root or os.path.isdir(place):
        return None
    return next((project for project in known if place in project.roots), None)


def resolve(res: Resources, scope: Scope) -> Resolved:
    """Say which project a scope means. Raises ProjectError for a named one that does not exist."""
    with res.index.read() as db:
        known = rows.projects(db)
    if scope.project:
        project = by_name(scope.project, scope.workspace, known)
        return Resolved(project=project, workspace=project.workspace, root="", by="named")
    identity = identity_of(res, scope)
    if identity.by == "none" and not scope.workspace:
        return Resolved(project=None, workspace=identity.workspace, root="", by="none")
    identity, found = looked_up(identity, known)
    if scope.workspace and (identity.by == "none" or scope.workspace != found.workspace):
        _check_workspace(scope.workspace, known)  # another workspace was named: nothing of this folder's
        return Resolved(project=None, workspace=scope.workspace, root="", by="named")
    return Resolved(project=found, workspace=found.workspace, root=identity.root, by=identity.by)


def identity_of(res: Resources, scope: Scope) -> Identity:
    """Return what the scope's folder says about its project, or what another machine says of one of its own."""
    return from_origin(scope.origin) if scope.origin else identify(scope.cwd, res.user_home)


def by_name(name: str, workspace: str, known: Sequence[Project]) -> Project:
    """Return the project with this name or id. Raises ProjectError with "did you mean"."""
    told_workspace, slash, short = name.partition("/")
    if slash:
        workspace, name = told_workspace, short
    _check_workspace(workspace, known)
    here = [project for project in known if not workspace or project.workspace == workspace]
    found = [project for project in here if name in (project.name, project.id)]
    if name == GENERAL:
        workspace = workspace or DEFAULT_WORKSPACE
        return next((project for project in found if project.workspace == workspace), general(workspace))
    if len(found) > 1:
        choices = " or ".join(f"{project.workspace}/{project.name}" for project in found)
        raise ProjectError(f"'{name}' is in several workspaces; say {choices}")
    if not found and (was := _once_called(name, workspace, known)):
        return was
    if not found:
        names = [project.name for project in here]
        elsewhere = [f"{project.workspace}/{project.name}" for project in known if project.name == name]
        raise ProjectError(f"there is no project '{name}'; {_did_you_mean(name, names, elsewhere)}")
    return found[0]


def _once_called(name: str, workspace: str, known: Sequence[Project]) -> Project | None:
    """Return the only project that once had this name (in a workspace, where one is told), or this id."""
    ending = f"/{workspace}/{name}" if workspace else f"/{name}"
    was = [
        one for one in known if name in one.earlier_ids or any(f"/{old}".endswith(ending) for old in one.earlier_names)
    ]
    return was[0] if len(was) == 1 else None


def general(workspace: str) -> Project:
    """Return the workspace's own project, for what belongs to no folder."""
    return Project(
        id=named_id(workspace, GENERAL), name=GENERAL, workspace=workspace, workspace_id=workspace_id(workspace)
    )


def make_known(res: Resources, identity: Identity, known: Sequence[Project], *, now: datetime) -> Project:
    """Return the project of an identity, recorded with this root and remote; made when it is new."""
    identity, found = looked_up(identity, known)
    if is_settled(identity, found, known) and (res.wiki(found).folder / FRONT_PAGE).exists():
        return found
    with locked(res.home / "locks" / "projects.lock", timeout=LOCK_WAIT):
        with res.index.read() as db:  # another process may have been quicker
            known = rows.projects(db)
        project = joined(identity, known)
        if project not in known or not (res.wiki(project).folder / FRONT_PAGE).exists():
            record(res, project, now=now)
    return project


def joined(identity: Identity, known: Sequence[Project]) -> Project:
    """Return which of the known projects an identity is, or the new one, known by its folders and remote as well.

    A repository that needs an id of its own is given it here. The caller keeps others from doing the same, and records
    what is not in `known`.
    """
    found = find(identity, known)
    project_id = keep_id(identity, found.id if found else identity.id or str(uuid.uuid4()))
    if found is None:
        found = next((one for one in known if one.id == project_id), None)
    return _with_place(found or _new(identity, known).model_copy(update={"id": project_id}), identity)


def looked_up(identity: Identity, known: Sequence[Project]) -> tuple[Identity, Project]:
    """Return the project that an identity is or would become, and the identity as that is judged; changes nothing."""
    identity = _before_it_went(_by_its_own_remote(identity, known), known)
    return identity, find(identity, known) or _new(identity, known)


def is_settled(identity: Identity, project: Project, known: Sequence[Project]) -> bool:
    """Tell whether a project that was looked up is known with all that the identity says: nothing is to be recorded."""
    return project in known and _with_place(project, identity) == project and bool(identity.id or not identity.git_dir)


def record(res: Resources, project: Project, *, now: datetime) -> None:
    """Write the project's front page and index the project: in this order, for the page is what it is rebuilt from."""
    previous = ""
    wiki = res.wiki(project)
    if (wiki.folder / FRONT_PAGE).exists():
        previous = wiki.read(FRONT_PAGE).decode("utf-8", "replace")
    if own_roots(wiki.folder) is not None:
        keep_own_roots(wiki.folder, project.roots)
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
        "roots": tuple(dict.fromkeys((*_texts(old_meta.get("roots")), *project.roots))) or None,
        "remotes": project.remotes or None,
        "earlier_names": project.earlier_names or None,
        "earlier_ids": project.earlier_ids or None,
    }
    return markdown.set_keys(markdown.text_from(page, previous), keys)


def on_disk(folder: Path) -> Project:
    """Read a project back from its wiki's folder, whose names are the ids. Raises OSError."""
    text = (folder / FRONT_PAGE).read_text(encoding="utf-8", errors="replace")
    project = from_front_page(text, folder.name, folder.parent.name)
    own = own_roots(folder)
    return project if own is None else project.model_copy(update={"roots": own})


def own_roots(folder: Path) -> tuple[str, ...] | None:
    """Return the folders of this machine that a synced project is known by, None for one that was never synced.

    The front page of a synced one also names those of other machines: here they may be anything.
    """
    try:
        return _texts(json.loads((folder / _ROOTS).read_bytes()))
    except FileNotFoundError:
        return None
    except ValueError:
        return ()


def keep_own_roots(folder: Path, roots: Sequence[str]) -> None:
    """Note the folders of this machine, from the first sync on. Raises StorageError."""
    write_atomic(folder / _ROOTS, json.dumps(list(roots)).encode("utf-8", "replace"))


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
        earlier_names=_texts(meta.get("earlier_names")),
        earlier_ids=_texts(meta.get("earlier_ids")),
    )


def _new(identity: Identity, known: Sequence[Project]) -> Project:
    """Return the project that an unknown identity would become: the same at every look, so that what nothing was
    stored for yet has a name already. Its random id, where it needs one, is only given when it is made known."""
    stand_in = str(uuid.uuid5(NAMESPACE, f"unknown:{identity.root}"))
    return Project(
        id=identity.id or stand_in,
        name=_free_name(identity, known),
        workspace=identity.workspace,
        workspace_id=workspace_id(identity.workspace),
    )


def _free_name(identity: Identity, known: Sequence[Project]) -> str:
    """Return the identity's name, told apart by what tells the project apart when another one has it."""
    name = "".join(char for char in identity.name if char.isprintable()).strip() or "unnamed"
    taken = {project.name for project in known if project.workspace == identity.workspace}
    taken |= {old.removeprefix(f"{identity.workspace}/") for project in known for old in project.earlier_names}
    if identity.id != named_id(identity.workspace, GENERAL):
        taken.add(GENERAL)
    what = identity.remote or (
        identity.id if identity.told else identity.root
    )  # the same path is on other machines too
    mark = hashlib.sha256(what.encode("utf-8", "replace")).hexdigest()
    return next(one for one in (name, f"{name}-{mark[:4]}", f"{name}-{mark[:12]}", mark) if one not in taken)


def _with_place(project: Project, identity: Identity) -> Project:
    """Return the project, known under the identity's folders and remote as well."""
    remotes = (identity.remote,) if identity.remote else ()
    return project.model_copy(
        update={
            "roots": tuple(dict.fromkeys((*project.roots, *identity.homes))),
            "remotes": tuple(dict.fromkeys((*project.remotes, *remotes))),
        }
    )


def _known_here(project: Project, identity: Identity) -> bool:
    """Tell whether the project was seen in this folder, and may still be what is there.

    A repository whose remote is unknown is another one, unless only the host or owner differs: the folder was
    published, or the remote moved. A project that is known by a given name belongs to who gives that name.
    """
    names = (f"{project.workspace}/{project.name}", *project.earlier_names)
    given = project.id in {named_id(*name.split("/", 1)) for name in names if "/" in name}
    if given or not set(identity.homes) & set(project.roots):
        return False
    name = identity.remote.rsplit("/", 1)[-1].lower()
    known_as = [remote.rsplit("/", 1)[-1].lower() for remote in project.remotes]
    known_as = known_as or [os.path.basename(home).lower() for home in identity.homes]
    return not identity.remote or name in known_as


def _lives_elsewhere(project: Project, identity: Identity) -> bool:
    """Tell whether the project is in another of its folders by now: then whatever is in this one is something new."""
    return any(
        one.kept == project.id or (one.remote != "" and one.remote in project.remotes)
        for one in _other_homes(project, identity)
    )


def _by_its_own_remote(identity: Identity, known: Sequence[Project]) -> Identity:
    """A repository that was copied, id and all, and then given a remote of its own is what that remote says."""
    original = next((one for one in known if one.id == identity.id), None)
    if (
        identity.told
        or not original
        or identity.by != "repository"
        or not identity.remote
        or identity.remote in original.remotes
    ):
        return identity
    if any(one.remote in original.remotes for one in _other_homes(original, identity)):
        return replace(identity, by="remote", id=remote_id(identity.remote))
    return identity


def _before_it_went(identity: Identity, known: Sequence[Project]) -> Identity:
    """A folder that was removed, in which a process may still be, is the nearest one above it that a project is known
    by and that went with it."""
    if identity.by != "folder" or identity.told:
        return identity
    roots = {root for project in known for root in project.roots}
    at = identity.root
    while at not in roots and not os.path.isdir(at) and at != os.path.dirname(at):
        at = os.path.dirname(at)
    return identity if at not in roots or os.path.isdir(at) else replace(identity, root=at, homes=(at,))


def _is_gone(identity: Identity) -> bool:
    """Tell whether it is a folder that was removed, or a work tree whose repository is not here (as in a container that
    was given the former alone, or both under other paths): nothing new can be there."""
    return not identity.told and not os.path.isdir(identity.git_dir or identity.root)


def _other_homes(project: Project, identity: Identity) -> Iterator[Repository]:
    """Read the other repositories that the project was seen in and that are still there."""
    for root in project.roots:
        found = repository(root) if root not in identity.homes and os.path.isdir(root) else None
        if found and found.git_dir != identity.git_dir:
            yield found


def _cloned_from(project: Project, identity: Identity) -> bool:
    """Tell whether the project is known as a clone of this repository, which has no remote itself."""
    return not identity.remote and any(
        f"file:{home.replace(os.sep, '/').removesuffix('.git')}" in project.remotes for home in identity.homes
    )


def _check_workspace(workspace: str, known: Sequence[Project]) -> None:
    earlier = {old.partition("/")[0] for project in known for old in project.earlier_names}
    workspaces = sorted({DEFAULT_WORKSPACE, *(project.workspace for project in known), *earlier})
    if workspace and workspace not in workspaces:
        raise ProjectError(f"there is no workspace '{workspace}'; {_did_you_mean(workspace, workspaces)}")


def _did_you_mean(name: str, names: Sequence[str], elsewhere: Sequence[str] = ()) -> str:
    import difflib  # 8 ms, for a mistake only

    spelled = {one.lower(): one for one in names}
    close = [*elsewhere, *(spelled[one] for one in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.5))]
    return f"did you mean {', '.join(close)}?" if close else "`ai-memory-mcp projects` lists the known ones"


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(str(item) for item in value) if isinstance(value, list) else ()
