"""Files that a program has made of something else (a repository, another memory), brought in as an import of Markdown.

Pages are known again by their files, so the files always lie in the same folder, which is gone when the import is done.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ai_memory_mcp.files import locked, private_dir, write_atomic
from ai_memory_mcp.memory import Memory, Progress
from ai_memory_mcp.model import ImportReport, Scope
from ai_memory_mcp.place import path_key


def bring_in(
    memory: Memory,
    scope: Scope,
    files: Mapping[str, str],
    home: Path,
    *,
    of: str,
    name: str,
    times: Mapping[str, float] | None = None,
    dry_run: bool = False,
    progress: Progress = lambda *_: None,
) -> ImportReport:
    """Import files (path -> text). `of` says what they were made of, always the same way, and `name` what the commit
    calls it; `times` (path -> Unix time) dates those that do not say it themselves. Raises what `import_markdown`
    does, BusyError while another process does the same."""
    with _folder(home, path_key(of), name) as folder:
        for path, text in files.items():
            target = folder / path
            private_dir(target.parent)
            write_atomic(target, text.encode("utf-8", "replace"))
            if times and path in times:
                os.utime(target, (times[path], times[path]))
        return memory.import_markdown(scope, folder, dry_run=dry_run, progress=progress)


@contextmanager
def _folder(home: Path, key: str, name: str) -> Iterator[Path]:
    shelf = home / "cache" / f"made-{key}"
    with locked(home / "locks" / f"made-{key}.lock", timeout=0.0):
        shutil.rmtree(shelf, ignore_errors=True)
        try:
            plain = "".join(char if char.isalnum() or char in "-_" else "-" for char in name)[:60]
            yield private_dir(shelf / (plain or "files"))
        finally:
            shutil.rmtree(shelf, ignore_errors=True)
