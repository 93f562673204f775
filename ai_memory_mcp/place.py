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
    user = user_home(env)
    if sys.platform == "win32":
        base = env.get("LOCALAPPDATA") or (user + "\\AppData\\Local" if user else "")
        return base + "\\ai-memory" if base else ""
    if sys.platform == "darwin":
        return user + "/Library/Application Support/ai-memory" if user else ""
    base = env.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):
        base = user + "/.local/share" if user else ""
    return base + "/ai-memory" if base else ""


def user_home(env: "dict[str, str]") -> str:
    """Return the user's home folder, '' when unknown. On Windows it is what agents take for it, whatever HOME says."""
    first, second = ("USERPROFILE", "HOME") if sys.platform == "win32" else ("HOME", "USERPROFILE")
    return env.get(first) or env.get(second, "")


def working_folder(env: "dict[str, str]") -> str:
    """Return where this process runs; of a folder that was removed, the name that it had as far as PWD tells."""
    try:
        return _os.getcwd()
    except OSError:
        return env.get("PWD", "")


def exists(path: str) -> bool:
    """Tell whether something is at `path`; unreadable counts as absent."""
    try:
        return _os.access(path, 0)  # F_OK; `stat` would pay for an exception at each level of a path
    except ValueError:
        return False


def real(path: str) -> str:
    """Return the absolute path without symbolic links, each name in the case that it has on the disk; what does not
    exist stays as told. '' stays ''."""
    if not path or "\0" in path:
        return ""
    if sys.platform == "win32":
        return str(_os.path.realpath(drive_path(path)))
    try:
        here = _os.getcwd()
    except OSError:  # the folder was deleted under this process
        here = ""
    if path != here:  # the usual case: an agent's hook runs where its event happened
        path = _without_links(path if path[0] == "/" else f"{here}/{path}")
    return _as_on_disk(path)


def drive_path(path: str) -> str:
    """Return a path as Windows wants it: agents and shells also say `/c:/x` or `/c/x` for `c:/x`."""
    letter, rest = path[1:2], path[2:].removeprefix(":")
    if path[:1] == "/" and "A" <= letter.upper() <= "Z" and (not rest or rest[0] in "/\\"):
        return f"{letter}:{rest or '/'}"
    return path


def _without_links(path: str) -> str:
    done = ""
    left = path.split("/")[::-1]
    hops = 0
    while left:
        part = left.pop()
        if part == "..":
            done = done[: max(done.rfind("/"), 0)]
        elif part not in ("", "."):
            done += "/" + part
            target = _link(done)
            if target and hops < 40:  # as the kernel: more than 40 links are a circle
                hops += 1
                done = "" if target[0] == "/" else done[: done.rfind("/")]
                left += target.split("/")[::-1]
    return done or "/"


def _as_on_disk(path: str) -> str:
    """Return a path in the letters that its disk has, where that takes others for the same."""
    told = path.rstrip("/")
    while told and not exists(told):  # what is gone, or not there yet
        told = told[: told.rfind("/")]
    other = told.swapcase()
    if other == told or not exists(other):  # the usual case, for two looks at the disk
        return path
    done = ""
    for part in told.split("/")[1:]:
        names = _names(done or "/")
        alike = [name for name in names if name.lower() == part.lower()]
        done += "/" + (part if part in names or not alike else alike[0])
    return done + path[len(told) :]


def _names(folder: str) -> "list[str]":
    try:
        return _os.listdir(folder)
    except OSError:  # one may go through a folder that one must not read
        return []


def _link(path: str) -> str:
    try:
        is_link = _os.lstat(path).st_mode & 0o170000 == 0o120000
        return _os.readlink(path) if is_link else ""
    except OSError:
        return ""


def find_root(cwd: str, user_home: str) -> "tuple[str, str]":
    """Return (root, marker file) for a working directory, both without symbolic links.

    Walks up, stopping before `user_home`: the marker is the nearest `.ai-memory.toml` ('' if none); the root is the
    nearest folder with `.git`, else the marker's folder, else `cwd` itself; '' where nothing may be a project (the
    user's home or above it, `/`, the folders for temporary files themselves).
    """
    cwd = real(cwd)
    user_home = real(user_home)
    at = cwd
    git = marker = ""
    while not (git and marker) and not never_a_project(at, user_home):
        if not git and exists(at + "/.git"):
            git = at
        if not marker and exists(at + "/" + MARKER):
            marker = at + "/" + MARKER
        at = at[: max(at.rfind("/"), at.rfind("\\"), 0)]
    if at == cwd:
        return "", ""
    return git or marker[: -len(MARKER) - 1] or cwd, marker


def never_a_project(path: str, user_home: str) -> bool:
    """Tell whether a folder is too general to be a project: home or above it, `/`, a drive, a temporary folder."""
    if path in ("", "/", "/tmp", "/var/tmp", "/private/tmp", "/private/var/tmp"):
        return True
    if path[0] != "/" and _never_on_windows(path.lower().rstrip("\\/") + "\\"):
        return True
    if path.startswith("/private/var/folders/") and path.count("/") <= 6:  # what macOS calls TMPDIR, and above it
        return True
    home = user_home.rstrip("/\\")
    return bool(home) and (path == home or home.startswith((path + "/", path + "\\")))


def _never_on_windows(path: str) -> bool:
    """The same for a path with a drive or a server, in lower case and with `\\` at its end: also shares, and Windows'
    own folder, in which programs without a folder of their own are started."""
    if path[:2] == "\\\\":
        return path.count("\\") < 5
    return path[1:] == ":\\" or path[1:].startswith(":\\windows\\") or path.endswith("\\appdata\\local\\temp\\")


def place_key(root: str, marker: str) -> str:
    """Return the name key of a place: the root, and the marker that may give a part of it another project."""
    return path_key(f"{root}\n{marker}" if marker else root)


def path_key(path: str) -> str:
    """Return 16 hex digits that stand for a path in file names."""
    # a remainder by a prime below 2**64: hash modules are shared libraries, whose loading costs more than all of this
    return f"{int.from_bytes(path.encode('utf-8', 'surrogatepass'), 'big') % 18446744073709551557:016x}"
