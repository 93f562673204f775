"""The hook launcher `AI_MEMORY_HOME/bin/emit` (on Windows `emit.ps1`), a small script whose path never changes, and
its bundle.

Agents trust a hook by its exact command, so what moves (interpreter, package folder) stands inside the script and
not in the agents' settings. The bundle is the byte code of the modules that every event needs, in one file: finding
and reading them one by one costs a tenth of the interpreter's start. It is only a cache: for another interpreter or
after an upgrade the script imports the modules the ordinary way until the worker has written it anew.
"""

from __future__ import annotations

import _json
import marshal
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import TypeVar

from ai_memory_mcp.agents.spec import configs_dir, scripts_dir
from ai_memory_mcp.files import private_dir, remove, write_atomic
from ai_memory_mcp.hooksettings import described

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AnyPath = TypeVar("AnyPath", bound=PurePath)

MODULES = ("", ".place", ".alive", ".secretglance", ".emit")

# Run by the interpreter at every event. {bundle} is named by the exact version: byte code of another one may crash.
# What it ends in when all is gone: exit 0 and silence. It excepts everything, twice: a bundle that is missing, torn or
# of other code is made up for by the package, and a package that is gone or broken must be nothing to the agent.
_CODE = """\
import sys
try:
    import marshal
    with open({bundle} % sys.hexversion, "rb", 0) as file:
        bundle = marshal.loads(file.read())
    exec(bundle[0])
    from ai_memory_mcp.emit import finish
except Exception:
    for name in [name for name in sys.modules if name.startswith("ai_memory_mcp")]:
        del sys.modules[name]
    try:
        sys.path.append({root})
        from ai_memory_mcp.emit import finish
    except Exception:
        sys.stdin.buffer.read()
        sys.exit()
finish(sys.argv[1:])"""

# The bundle's own first step: is it still the code of the package? Then make the modules of it. (`posix` is `nt` on
# Windows.)
_BOOT = """\
import posix
_, stamps, modules, agents, json = bundle
for path, mtime, size in stamps:
    stat = posix.stat(path)
    if (stat.st_mtime_ns, stat.st_size) != (mtime, size):
        raise ImportError(path)
for (name, code), (path, _, _) in zip(modules, stamps):
    module = sys.modules[name] = type(sys)(name)
    module.__file__ = path
    module.__package__ = "ai_memory_mcp"
    if name == "ai_memory_mcp":
        module.__path__ = [path[: -len("/__init__.py")]]
    exec(code, module.__dict__)
module.BUNDLED_AGENTS = agents
if json:  # a shared library: loaded without looking for it along sys.path
    import _imp
    spec = type(sys.__spec__)("_json", None, origin=json)
    module = sys.modules["_json"] = _imp.create_dynamic(spec)
    _imp.exec_dynamic(module)
"""


# What runs a script of PowerShell's. Without `-WindowStyle Hidden`: in a terminal that hides the terminal itself.
POWERSHELL = ("powershell.exe", "-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-File")


def launcher_path(home: AnyPath, platform: str = sys.platform) -> AnyPath:
    """Return where the launcher lies."""
    return home / "bin" / ("emit.ps1" if platform == "win32" else "emit")


def launcher_command(home: PurePath, platform: str = sys.platform) -> tuple[tuple[str, ...], str]:
    """Return (the words that go before the launcher where it is no program itself, the launcher).

    On Windows too its path has slashes: agents hand it to bash or PowerShell, and bash would take backslashes away.
    """
    path = launcher_path(home, platform)
    return (POWERSHELL, path.as_posix()) if platform == "win32" else ((), str(path))


def launcher_text(home: PurePath, python: str, platform: str = sys.platform) -> str:
    """Return the launcher for this interpreter and this package."""
    bundle = str(home / "bin" / "emit-%x.bin").replace("%", "%%").replace("%%x", "%x")
    root = str(_package().parent)
    if platform == "win32":
        # no double quotes: PowerShell before 7.3 loses them. A byte order mark: before 6 it takes UTF-8 for Latin.
        code = _CODE.replace('"', "'").format(bundle=_single_quoted(bundle), root=_single_quoted(root))
        text = "\ufeff" + (scripts_dir() / "emit.ps1").read_text(encoding="utf-8")
    else:
        code = _CODE.format(bundle=repr(bundle), root=repr(root))
        text = (scripts_dir() / "emit.sh").read_text(encoding="utf-8")
    for name, value in {"@PYTHON@": python, "@HOME@": str(home), "@CODE@": code}.items():
        text = text.replace(name, _quoting(platform)(value))
    return text


def write_launcher(home: Path, python: str, platform: str = sys.platform) -> Path:
    """Write launcher and bundle where they are not right already; returns the launcher's path."""
    private_dir(home)
    path = launcher_path(home, platform)
    private_dir(path.parent)
    text = launcher_text(home, python, platform).encode()
    if not path.exists() or path.read_bytes() != text:
        write_atomic(path, text, mode=0o700)
    bundle = path.parent / f"emit-{sys.hexversion:x}.bin"
    data = bundled()
    if not bundle.exists() or bundle.read_bytes() != data:
        write_atomic(bundle, data)
        for old in path.parent.glob("emit-*.bin"):
            if old != bundle:
                remove(old)
    return path


def mend_launcher(home: Path, python: str, platform: str = sys.platform) -> None:
    """After an upgrade write anew what has moved. A launcher of another installation, or a retired one, is left."""
    if starts(home, python, platform):
        write_launcher(home, python, platform)


def starts(home: Path, python: str, platform: str = sys.platform) -> bool:
    """Tell whether there is a launcher and it runs this interpreter, that is, this installation."""
    try:
        return _quoting(platform)(python) in launcher_path(home, platform).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def retire_launcher(home: Path, platform: str = sys.platform) -> None:
    """Leave a launcher that does nothing: an agent that still runs calls it until it ends."""
    path = launcher_path(home, platform)
    if path.exists():
        write_atomic(path, b"#!/bin/sh\n# retired\nexit 0\n", mode=0o700)  # PowerShell reads it the same way


def _quoting(platform: str) -> Callable[[str], str]:
    return _powershell_quoted if platform == "win32" else shlex.quote


def _powershell_quoted(text: str) -> str:
    """PowerShell takes the typographic single quotes for plain ones."""
    return "'" + re.sub("(['\u2018-\u201b])", r"\1\1", text) + "'"


def _single_quoted(text: str) -> str:
    """Return text as a literal of Python's in single quotes."""
    return "'" + ascii('"' + text)[2:]  # for one with a double quote in it, Python takes single ones


def bundled() -> bytes:
    """Return what the launcher runs: its first step, the files' stamps, byte code, the agents, where `_json` is."""
    stamps, modules = [], []
    for name in MODULES:
        path = _package() / (name[1:] + ".py" if name else "__init__.py")
        stamps.append(_stamp(path))
        modules.append(("ai_memory_mcp" + name, compile(path.read_bytes(), str(path), "exec", optimize=2)))
    agents = {
        path.parent.name: (*_stamp(path), marshal.dumps(described(_toml(path))))
        for path in sorted(configs_dir().glob("*/agent.toml"))
    }
    json = getattr(_json, "__file__", "")
    boot = compile(_BOOT.replace("posix", os.name), "bundle", "exec")
    return marshal.dumps((boot, tuple(stamps), tuple(modules), agents, json))


def _stamp(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return str(path), stat.st_mtime_ns, stat.st_size


def _toml(path: Path) -> dict[str, object]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _package() -> Path:
    return Path(__file__).resolve().parent.parent
