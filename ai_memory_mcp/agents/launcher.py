"""The hook launcher `AI_MEMORY_HOME/bin/emit`: a small sh script whose path never changes.

Agents trust a hook by its exact command, so what moves (interpreter, package folder) stands inside the script and
not in the agents' settings. The script is written by setup and mended by the worker after an upgrade.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from ai_memory_mcp.files import private_dir, write_atomic

_CODE = "import sys; sys.path.insert(0, {root!r}); from ai_memory_mcp.emit import finish; finish(sys.argv[1:])"


def launcher_path(home: Path) -> Path:
    """Return where the launcher lies."""
    return home / "bin" / "emit"


def launcher_text(home: Path, python: str) -> str:
    """Return the launcher for this interpreter and this package."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "hook_scripts"
    template = (inside if inside.is_dir() else package.parent / "hook_scripts") / "emit.sh"
    root = str(package.parent)
    values = {"@PYTHON@": python, "@ROOT@": root, "@HOME@": str(home), "@CODE@": _CODE.format(root=root)}
    text = template.read_text(encoding="utf-8")
    text = text.replace('"${AI_MEMORY_HOME:-@HOME@}"', '"${AI_MEMORY_HOME:-' + _in_double_quotes(str(home)) + '}"')
    for name, value in values.items():
        text = text.replace(name, shlex.quote(value))
    return text


def write_launcher(home: Path, python: str) -> Path:
    """Write the launcher unless it is right already; returns its path."""
    private_dir(home)
    path = launcher_path(home)
    private_dir(path.parent)
    text = launcher_text(home, python).encode()
    if not path.exists() or path.read_bytes() != text:
        write_atomic(path, text, mode=0o700)
    return path


def _in_double_quotes(text: str) -> str:
    return "".join("\\" + char if char in '\\"$`}' else char for char in text)
