"""Project identity: which project a folder belongs to, and how that was found.

Order: the nearest `.ai-memory.toml` that names a project, the git repository (its id file, a known remote, the
normalised remote), the folder. Home, `/` and the temporary folders are never a project. `identify` only looks;
`remember_identity` is what writes the small id file into a repository without a remote.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.place import find_root

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMESPACE = uuid.UUID("6f0c1d1e-8a4b-5c0e-9d53-a1a3e0b7c9d2")
DEFAULT_WORKSPACE = "default"
GENERAL = "general"
ID_FILE = "ai-memory-project"
CASELESS_HOSTS = ("github.com", "gitlab.com", "bitbucket.org")  # their paths ignore case


@dataclass(frozen=True)
class Identity:
    """What a folder says about its project. `id` is '' where only a new random one can serve.

    `stamps` are the files (with mtime in ns, 0 for absent) whose change would change this answer.
    """

    root: str
    by: str
    workspace: str
    name: str
    id: str = ""
    remote: str = ""
    git_dir: str = ""
    marker: str = ""
    stamps: dict[str, int] = field(default_factory=dict)


def workspace_id(workspace: str) -> str:
    """Return the UUID of a workspace: the same on every machine."""
    return str(uuid.uuid5(NAMESPACE, f"workspace:{workspace}"))


def named_id(workspace: str, name: str) -> str:
    """Return the UUID of a project known by name alone (`.ai-memory.toml`, `general`): the same everywhere."""
    return str(uuid.uuid5(NAMESPACE, f"project:{workspace}/{name}"))


def remote_id(remote: str) -> str:
    """Return the UUID of the project with this normalised remote: the same on every machine."""
    return str(uuid.uuid5(NAMESPACE, f"remote:{remote}"))


def identify(cwd: str, user_home: str) -> Identity:
    """Say what project a working directory belongs to. Raises ProjectError when its `.ai-memory.toml` is broken."""
    user_home = os.path.realpath(user_home) if user_home else ""
    root, marker = find_root(os.path.realpath(cwd) if cwd else "", user_home)
    stamps: dict[str, int] = {}
    workspace = named = ""
    at = marker
    while at and not named:  # the nearest marker that names a project; one may only hold capture rules
        stamps[at] = mtime(at)
        settings = _marker_settings(at)
        workspace = workspace or _name(settings, "workspace", at)
        named = _name(settings, "project", at)
        at = find_root(os.path.dirname(os.path.dirname(at)), user_home)[1]
    workspace = workspace or DEFAULT_WORKSPACE
    if named:
        ours = named_id(workspace, named)
        return Identity(root, "marker", workspace, named, ours, marker=marker, stamps=stamps)
    if not root:
        return Identity("", "none", workspace, GENERAL, named_id(workspace, GENERAL))
    git_dir = _git_dir(root)
    if not git_dir:
        name = os.path.basename(root) or root
        return Identity(root, "folder", workspace, name, marker=marker, stamps=stamps)
    config = os.path.join(git_dir, "config")
    remote = normalise_remote(_remote_url(config))
    kept = _kept_id(git_dir)
    stamps |= {config: mtime(config), os.path.join(git_dir, ID_FILE): mtime(os.path.join(git_dir, ID_FILE))}
    name = remote.rsplit("/", 1)[-1] if remote else os.path.basename(_main_root(git_dir, root))
    ours = kept or (remote_id(remote) if remote else "")
    by = "remote" if remote and not kept else "repository"
    return Identity(root, by, workspace, name, ours, remote, git_dir, marker, stamps)


def remember_identity(identity: Identity, project_id: str) -> bool:
    """Keep a random id inside the repository's own git directory (untracked), so that moving the folder keeps its
    memory. Returns False where the directory refuses; then the folder's path has to do."""
    if not identity.git_dir or identity.id:
        return False
    path = os.path.join(identity.git_dir, ID_FILE)
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(project_id + "\n")
    except OSError:
        return False
    return True


def branch_of(root: str) -> str:
    """Return the branch checked out at `root`, '' outside git or on a detached HEAD."""
    head = Path(_worktree_git_dir(root), "HEAD") if _worktree_git_dir(root) else None
    try:
        text = head.read_text(encoding="utf-8") if head else ""
    except (OSError, UnicodeDecodeError):
        return ""
    return text.strip().removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else ""


def normalise_remote(url: str) -> str:
    """Return `host/path` of a git remote, the same for every spelling of it ('' for none).

    git@host:a/b.git, ssh://git@host:22/a/b, https://user@host/a/b/ are one; a local path stays itself.
    """
    url = url.strip()
    if not url:
        return ""
    match = re.match(r"^[a-z][a-z0-9+.-]*://(?:[^/@]*@)?(\[[^\]]+\]|[^/:]+)(?::\d+)?/+(.*)$", url, re.IGNORECASE)
    if not match and not re.match(r"^([A-Za-z]:[\\/]|[./~\\])", url):
        match = re.match(r"^(?:[^/@:]*@)?([^/:@]+):(?!//)(.*)$", url)
    if not match or url.lower().startswith("file:"):
        return "file:" + re.sub(r"^file://", "", url, flags=re.IGNORECASE).rstrip("/").removesuffix(".git")
    host, path = match.group(1).lower(), match.group(2).strip("/").removesuffix(".git").rstrip("/")
    return f"{host}/{path.lower() if host in CASELESS_HOSTS else path}"


def mtime(path: str) -> int:
    """Return the modification time in ns, 0 for a file that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _marker_settings(marker: str) -> dict[str, object]:
    if not marker:
        return {}
    try:
        return tomllib.loads(Path(marker).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{marker} cannot be read: {error}; correct it, nothing is captured until then") from error


def _name(settings: dict[str, object], key: str, marker: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str) or len(value) > 100 or re.search(r"[\x00-\x1f/\\]", value):
        raise ProjectError(f"{marker}: `{key}` must be a short name without slashes")
    return value.strip()


def _worktree_git_dir(root: str) -> str:
    """Return the git directory of this very work tree (of a linked one: below the main one's)."""
    dot = os.path.join(root, ".git")
    if os.path.isdir(dot):
        return dot
    try:
        told = Path(dot).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return os.path.normpath(os.path.join(root, told[8:])) if told.startswith("gitdir: ") else ""


def _git_dir(root: str) -> str:
    """Return the git directory that all work trees of the repository share."""
    own = _worktree_git_dir(root)
    try:
        common = Path(own, "commondir").read_text(encoding="utf-8").strip() if own else ""
    except (OSError, UnicodeDecodeError):
        return own
    return os.path.normpath(os.path.join(own, common)) if own else ""


def _main_root(git_dir: str, root: str) -> str:
    return os.path.dirname(git_dir) if os.path.basename(git_dir) == ".git" else root


def _remote_url(config: str) -> str:
    """Return the URL of `origin`, else of the first remote, from a git config file ('' if none or unreadable)."""
    urls: dict[str, str] = {}
    section = ""
    try:
        lines = Path(config).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        head = re.match(r'^\s*\[remote\s+"(.+)"\]', line)
        if head or line.lstrip().startswith("["):
            section = head.group(1) if head else ""
        url = re.match(r"^\s*url\s*=\s*(.+?)\s*$", line)
        if section and url:
            urls.setdefault(section, url.group(1).strip('"'))
    return urls.get("origin") or next(iter(urls.values()), "")


def _kept_id(git_dir: str) -> str:
    try:
        text = Path(git_dir, ID_FILE).read_text(encoding="ascii").strip()
        return str(uuid.UUID(text))
    except (OSError, ValueError):
        return ""
