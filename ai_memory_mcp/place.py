"""Where things are, told without importing anything: AI_MEMORY_HOME, the root that decides a project, name keys.

The hook process imports this on every event, so it may import nothing but `posix`/`nt`. It must give the
same answer everywhere: a brief pre-rendered under one root key is looked up by the next hook under the same key.
"""

import sys

try:
    import posix as _os  # importing `os` costs more than everything this module does
except ImportError:  # Windows
    import os as _os  # type: ignore[no-redef]

MARKER = ".ai-memory.toml"


def default_home(env: "dict[str, str]") -> str:
    """Return AI_MEMORY_HOME, or what platformdirs calls the user data folder for `ai-memory` ('' if unknown)."""
    told = env.get("AI_MEMORY_HOME", "")
    if told:
        return told
    if sys.platform == "win32":
        base = env.get("LOCALAPPDATA") or env.get("USERPROFILE", "") + "\\AppData\\Local"
        return base + "\\ai-memory"
    user = env.get("HOME", "")
    if sys.platform == "darwin":
        return user + "/Library/Application Support/ai-memory" if user else ""
    base = env.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):
        base = user + "/.local/share" if user else ""
    return base + "/ai-memory" if base else ""


def exists(path: str) -> bool:
    """Tell whether something is at `path`; unreadable counts as absent."""
    try:
        _os.stat(path)
    except (OSError, ValueError):
        return False
    return True


def find_root(cwd: str, user_home: str) -> "tuple[str, str]":
    """Return (root, marker file) for a working directory.

    Walks up, stopping before `user_home`: the marker is the nearest `.ai-memory.toml` ('' if none); the root is the
    nearest folder with `.git`, else the marker's folder, else `cwd` itself; '' where nothing may be a project (the
    user's home or above it, `/`, the folders for temporary files themselves).
    """
    at = cwd = cwd.rstrip("/\\") or "/"
    git = marker = ""
    if never_a_project(cwd, user_home):
        return "", ""
    while not (git and marker) and not never_a_project(at, user_home):
        if not git and exists(at + "/.git"):
            git = at
        if not marker and exists(at + "/" + MARKER):
            marker = at + "/" + MARKER
        at = at[: max(at.rfind("/"), at.rfind("\\"), 0)]
    return git or marker[: -len(MARKER) - 1] or cwd, marker


def never_a_project(path: str, user_home: str) -> bool:
    """Tell whether a folder is too general to be a project: home or above it, `/`, a drive, a temporary folder."""
    if path in ("", "/", "/tmp", "/var/tmp", "/private/tmp", "/private/var/tmp") or path.endswith(":"):
        return True
    home = user_home.rstrip("/\\")
    return bool(home) and (path == home or home.startswith((path + "/", path + "\\")))


def place_key(root: str, marker: str) -> str:
    """Return the name key of a place: the root, and the marker that may give a part of it another project."""
    return path_key(f"{root}\n{marker}" if marker else root)


def path_key(path: str) -> str:
    """Return 16 hex digits that stand for a path in file names."""
    # a remainder by a prime below 2**64: hash modules are shared libraries, whose loading costs more than all of this
    return f"{int.from_bytes(path.encode('utf-8', 'surrogatepass'), 'big') % 18446744073709551557:016x}"
