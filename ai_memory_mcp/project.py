"""Project identity: which project a folder belongs to, and how that was found.

Order: the nearest `.ai-memory.toml` that names a project, the git repository (its id file, a known remote, the
normalised remote), the folder. Home, `/` and the temporary folders are never a project. `identify` only looks;
`keep_id` is what writes the small id file into a repository without a remote. A copied repository (`cp -r`) takes
that file along, so it shares its memory with the original, as a clone does.
"""

from __future__ import annotations

import os
import re
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ai_memory_mcp.errors import ProjectError
from ai_memory_mcp.model import Origin
from ai_memory_mcp.place import drive_path, find_root, real

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMESPACE = uuid.UUID("6f0c1d1e-8a4b-5c0e-9d53-a1a3e0b7c9d2")
DEFAULT_WORKSPACE = "default"
GENERAL = "general"
ID_FILE = "ai-memory-project"
CASELESS_HOSTS = ("github.com", "gitlab.com", "bitbucket.org")  # their paths ignore case
_OTHER_DOORS = re.compile(r"^(?:www|ssh|altssh)\.(?=(?:github\.com|gitlab\.com|bitbucket\.org)$)")  # ssh on port 443
_DRIVE_OR_PATH = re.compile(r"^([A-Za-z]:[\\/]|[./~\\])")


@dataclass(frozen=True)
class Repository:
    """What a git directory tells: `main` is the folder of the main work tree (of a bare repository: itself), `kept`
    the id in our file, `remote` normalised. `stamps` are the files that were read."""

    git_dir: str
    main: str
    name: str
    kept: str = ""
    remote: str = ""
    stamps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """What a folder says about its project. `id` is '' where only a new random one can serve.

    `homes` are the folders under which the project is recorded: main work tree and this one, the folder of the naming
    marker. `stamps` are the files (with mtime in ns, 0 for absent) whose change would change this answer. `told`: what
    another machine found out about a folder of its own, see `from_origin`.
    """

    root: str
    by: str
    workspace: str
    name: str
    id: str = ""
    remote: str = ""
    git_dir: str = ""
    marker: str = ""
    homes: tuple[str, ...] = ()
    stamps: dict[str, int] = field(default_factory=dict)
    told: bool = False


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
    root, marker = find_root(cwd, user_home)
    workspace, named, naming, read = _told_by_markers(marker, user_home)
    workspace = workspace or DEFAULT_WORKSPACE
    stamps = {path: mtime(path) for path in read}
    if named:
        ours = named_id(workspace, named)
        home = os.path.dirname(naming)
        return Identity(root, "marker", workspace, named, ours, marker=marker, homes=(home,), stamps=stamps)
    if not root:
        return Identity("", "none", workspace, GENERAL, named_id(workspace, GENERAL))
    found = repository(root)
    if not found:
        stamps[os.path.join(root, ".git")] = 0
        name = os.path.basename(root) or root
        return Identity(root, "folder", workspace, name, marker=marker, homes=(root,), stamps=stamps)
    stamps |= {path: mtime(path) for path in found.stamps}
    homes = tuple(dict.fromkeys((found.main, root)))
    by = "remote" if found.remote and not found.kept else "repository"
    ours = found.kept or (remote_id(found.remote) if found.remote else "")
    return Identity(root, by, workspace, found.name, ours, found.remote, found.git_dir, marker, homes, stamps)


def from_origin(origin: Origin) -> Identity:
    """Return what another machine told as an identity: with nothing in it that would be looked for on this disk."""
    return Identity(origin.root, origin.by, origin.workspace, origin.name, origin.id, origin.remote, told=True)


def repository(root: str) -> Repository | None:
    """Read what tells the repository at `root` (a work tree, or a bare one) from others; None where there is none."""
    git_dir, linked = _git_dir(root)
    if not git_dir:
        return None
    main = _main_folder(git_dir) if linked else root
    remote, kept = _origin(git_dir, main)
    name = remote.rsplit("/", 1)[-1] or os.path.basename(main).removesuffix(".git")
    stamps = (os.path.join(git_dir, "config"), os.path.join(git_dir, ID_FILE))
    return Repository(git_dir, main, name, kept, remote, stamps)


def keep_id(identity: Identity, project_id: str) -> str:
    """Keep a random id inside the repository's own git directory (untracked), so that moving the folder keeps its
    memory. Returns the id in force: what another process kept there first, else the given one, be it only in the
    registry because the directory refuses."""
    if not identity.git_dir or identity.id:
        return project_id
    path = os.path.join(identity.git_dir, ID_FILE)
    mine = f"{path}.{os.getpid()}"
    try:
        Path(mine).write_text(project_id + "\n", encoding="ascii")
        os.link(mine, path)  # whole at once, and never over another's
    except OSError:
        return _kept_id(identity.git_dir) or project_id
    finally:
        with suppress(OSError):
            os.unlink(mine)
    return project_id


def branch_of(root: str) -> str:
    """Return the branch checked out at `root`, '' outside git or on a detached HEAD."""
    own = _own_git_dir(root)
    text = _line(own, "HEAD") if own else ""
    return text.removeprefix("ref: refs/heads/") if text.startswith("ref: refs/heads/") else ""


def normalise_remote(url: str, base: str = "") -> str:
    """Return `host/path` of a git remote, the same for every spelling of it ('' for none).

    git@host:a/b.git, ssh://git@host:22/a/b, https://user:secret@host/a/b/ are one. A path on this machine becomes
    `file:<absolute path>`; a relative one counts from `base`.
    """
    url = url.strip()
    match = re.match(r"^[a-z][a-z0-9+.-]*://(?:[^/]*@)?(\[[^\]]+\]|[^/:@]+)(?::\d*)?/+(.*)$", url, re.IGNORECASE)
    if not match and not _DRIVE_OR_PATH.match(url):
        match = re.match(r"^(?:[^/@:]*@)?(\[[^\]]+\]|[^/:@]+):(?!//)(.*)$", url)
    if not url or (match and not match.group(2).strip("/")):
        return ""
    if not match or url.lower().startswith("file:"):
        path = re.sub(r"^file:(//[^/]*)?", "", url, flags=re.IGNORECASE)
        if os.sep == "\\":
            path = drive_path(path)
        path = real(os.path.join(base, os.path.expanduser(path))).replace(os.sep, "/")
        return "file:" + path.removesuffix("/.git").removesuffix(".git")
    host = _OTHER_DOORS.sub("", match.group(1).lower())
    path = match.group(2).strip("/").removesuffix(".git").rstrip("/")
    return f"{host}/{path.lower() if host in CASELESS_HOSTS else path}"


def mtime(path: str) -> int:
    """Return the modification time in ns, 0 for a file that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _told_by_markers(marker: str, user_home: str) -> tuple[str, str, str, list[str]]:
    """Return (workspace, project, the marker that names the project, markers read), going up until both are told.

    The nearest word counts; a marker may also hold capture rules alone.
    """
    workspace = named = naming = ""
    read: list[str] = []
    while marker and not (workspace and named):
        read.append(marker)
        settings = _marker_settings(marker)
        workspace = workspace or _name(settings, "workspace", marker)
        if not named:
            named, naming = _name(settings, "project", marker), marker
        marker = find_root(os.path.dirname(os.path.dirname(marker)), user_home)[1]
    return workspace, named, naming, read


def _marker_settings(marker: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(marker).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ProjectError(f"{marker} cannot be read: {error}; correct it, nothing is captured until then") from error


def _name(settings: dict[str, object], key: str, marker: str) -> str:
    value = settings.get(key, "")
    if not isinstance(value, str) or len(value) > 100 or re.search(r"[\x00-\x1f/\\]", value):
        raise ProjectError(f"{marker}: `{key}` must be a short name without slashes")
    return value.strip()


def _git_dir(root: str) -> tuple[str, bool]:
    """Return (the git directory that all work trees share, whether this is a linked one); '' where there is none."""
    own = _own_git_dir(root)
    if not own:
        bare = all(os.path.exists(os.path.join(root, name)) for name in ("HEAD", "objects", "refs"))
        return (root, False) if bare else ("", False)
    common = _line(own, "commondir")
    if common:
        return os.path.normpath(os.path.join(own, common)), True
    main, linked, _ = own.rpartition(os.sep + "worktrees" + os.sep)  # of a repository that is gone or not mounted here
    return (main, True) if linked and not os.path.exists(own) else (own, False)


def _own_git_dir(root: str) -> str:
    """Return the git directory of this very work tree (of a linked one: below the main one's)."""
    dot = os.path.join(root, ".git")
    if os.path.isdir(dot):
        return dot
    told = _line(root, ".git")
    return os.path.normpath(os.path.join(root, told[8:])) if told.startswith("gitdir: ") else ""


def _main_folder(git_dir: str) -> str:
    """Return the main work tree of a git directory; a bare repository is its own, `x/.bare` stands for x."""
    folder, name = os.path.split(git_dir)
    return real(folder if name.startswith(".") else git_dir)


def _origin(git_dir: str, main: str, hops: int = 0) -> tuple[str, str]:
    """Return (remote, kept id). A clone of a repository on this machine is what that one is."""
    remote = normalise_remote(_remote_url(os.path.join(git_dir, "config")), main)
    kept = _kept_id(git_dir)
    if kept or hops > 4 or not remote.startswith("file:"):
        return remote, kept
    for folder in (remote[5:], remote[5:] + ".git"):
        source = _git_dir(folder)[0]
        if source:
            further, kept = _origin(source, folder, hops + 1)
            return further or remote, kept
    return remote, ""


def _remote_url(config: str) -> str:
    """Return the URL of `origin`, else of the first remote, from a git config file ('' if none or unreadable)."""
    urls: dict[str, str] = {}
    section = ""
    try:
        lines = Path(config).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        head = re.match(r'^\s*\[\s*remote\s+"(.+)"\s*\]', line, re.IGNORECASE)
        if head or line.lstrip().startswith("["):
            section = head.group(1) if head else ""
        url = re.match(r'^\s*url\s*=\s*"?(.*?)"?\s*(?:\s[#;].*)?$', line, re.IGNORECASE)
        if section and url:
            urls.setdefault(section, url.group(1))
    return urls.get("origin") or next(iter(urls.values()), "")


def _kept_id(git_dir: str) -> str:
    try:
        return str(uuid.UUID(_line(git_dir, ID_FILE)))
    except ValueError:
        return ""


def _line(folder: str, name: str) -> str:
    """Return a small file's text; '' where there is none, or none that reads as text."""
    try:
        return Path(folder, name).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
