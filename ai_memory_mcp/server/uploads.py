"""Files that a machine sends for an import: kept in a folder of their own until it has been done.

Only who sent them can name them. What a server that ended has left goes when the next one starts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from pathlib import Path, PurePosixPath

from ai_memory_mcp.errors import InputError, NotFoundError
from ai_memory_mcp.files import private_dir, storage_error
from ai_memory_mcp.model import SentFile, Upload, UploadedFiles
from ai_memory_mcp.server.access import Access, require

MOST = 512 * 2**20  # bytes of one upload
KEPT = 3600.0  # seconds in which an upload that nobody goes on with is kept
PREFIX = "upload-"


class Uploads:
    """The uploads of one server, below `cache/`."""

    def __init__(self, home: Path) -> None:
        self._cache = home / "cache"
        self._sizes: dict[Path, int] = {}
        self._origins: dict[Path, str] = {}

    def put(self, access: Access, body: bytes) -> UploadedFiles:
        """Store a part. Raises InputError for one that is none or too much, AccessError, StorageError."""
        require(access, "import_markdown")
        part = Upload.model_validate_json(body)
        folder = self._folder(access, part.id)
        self._sizes[folder] = self._sizes.get(folder, 0) + len(body)
        if self._sizes[folder] > MOST:
            self.drop(access, part.id)
            raise InputError(f"more than {MOST // 2**20} MiB cannot be imported at once; import folder by folder")
        private_dir(folder)
        self._origins[folder] = part.folder
        return UploadedFiles(skipped={file.name: why for file in part.files if (why := _store(folder, file))})

    def find(self, access: Access, upload: str) -> tuple[Path, str]:
        """Return the folder of an upload, and which one it is on the sender's machine. Raises NotFoundError."""
        folder = self._folder(access, upload)
        if folder not in self._origins:
            raise NotFoundError("what was sent for the import is gone; import again")
        return folder, self._origins[folder]

    def drop(self, access: Access, upload: str) -> None:
        """Remove an upload, and what others have left long ago."""
        self._remove(self._folder(access, upload))
        for folder in self._cache.glob(f"{PREFIX}*"):
            if time.time() - folder.stat().st_mtime > KEPT:
                self._remove(folder)

    def clear(self) -> None:
        """Remove all of them."""
        for folder in self._cache.glob(f"{PREFIX}*"):
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._sizes.pop(folder, None)
        self._origins.pop(folder, None)

    def _folder(self, access: Access, upload: str) -> Path:
        mark = hashlib.sha256(f"{access.name}\n{upload}".encode("utf-8", "replace")).hexdigest()[:32]
        return self._cache / f"{PREFIX}{mark}"


def _store(folder: Path, file: SentFile) -> str:
    """Write a file; returns why it cannot be ('' for nothing)."""
    parts = PurePosixPath(file.name).parts
    if file.name.startswith("/") or "\\" in file.name or "\0" in file.name or ".." in parts or not parts:
        return "no path below the folder"
    path = folder.joinpath(*parts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.text.encode("utf-8", "replace"))
        os.utime(path, (file.mtime, file.mtime))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise storage_error("write", path, error) from error
        return f"cannot be kept under this name: {(error.strerror or str(error)).lower()}"
    return ""
