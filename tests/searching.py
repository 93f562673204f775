"""Looking for a word in every byte that a memory has on the disk."""

from __future__ import annotations

import gzip
import subprocess
import zlib
from pathlib import Path


def everything(home: Path) -> list[bytes]:
    """Return every byte of a home: names, files, git objects and what is compressed, decompressed."""
    found = []
    for path in sorted(home.rglob("*")):
        found.append(path.name.encode())
        if path.is_file():
            data = path.read_bytes()
            found.append(data)
            if path.suffix == ".gz":
                found.append(gzip.decompress(data))
            if len(path.name) == 38 and path.parent.parent.name == "objects":
                found.append(zlib.decompress(data))
            if path.suffix == ".idx":
                repo = path.parents[3]
                shown = subprocess.run(["git", "show-index"], input=data, capture_output=True, check=True).stdout
                shas = b"\n".join(line.split()[1] for line in shown.splitlines())
                command = ["git", "-C", str(repo), "cat-file", "--batch"]
                found.append(subprocess.run(command, input=shas, capture_output=True, check=True).stdout)
    return found


def traces(home: Path, word: str = "qzokapi7731") -> list[bytes]:
    """Return where a word is found, in any case."""
    return [data[-60:] for data in everything(home) if word.encode().lower() in data.lower()]


def fsck(home: Path) -> str:
    """Return what git complains of in any wiki."""
    told = ""
    for git in sorted((home / "wiki").glob("*/*/.git")):
        for words in (["fsck", "--strict", "--full"], ["status", "--porcelain"]):
            done = subprocess.run(["git", "-C", git.parent, *words], capture_output=True, text=True, check=False)
            told += done.stdout + done.stderr
    return told
