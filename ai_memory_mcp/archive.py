"""What an archive of `backup` may hold, and reading one that anybody may have made: a zip file in which `manifest.json`
names every file with its size, time and check sum.

`refusal` is the one rule for names, asked when packing and when unpacking: what is no file of a memory, could run a
program (git's hooks) or leads elsewhere (`..`, links, other repositories' objects) is neither packed nor unpacked.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import struct
import sys
import time
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.files import private_dir
from ai_memory_mcp.formats import FILE as FORMAT_FILE
from ai_memory_mcp.formats import FORMAT
from ai_memory_mcp.model import Value
from ai_memory_mcp.tombstones import FILE as TOMBSTONES

MANIFEST = "manifest.json"
FILES = (FORMAT_FILE, "config.toml", "tokens.json", TOMBSTONES)
FOLDERS = ("spool", "sync", "llm", "journal", "wiki")
CHUNK = 1 << 20  # bytes
MOST_FILES = 4_000_000
LONGEST = 1_000  # characters of a path
MOST_RATIO = 1_040  # of unpacked to packed bytes; nothing that deflate makes is above 1,032
PER_FILE = 200  # bytes of the manifest for one file, beside its name

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WIKI = re.compile(rf"wiki/{_ID}/{_ID}/(.+)")
_GIT = re.compile(  # what of a git folder is kept: not what runs programs or leads elsewhere, nor what git makes anew
    r"HEAD|[A-Z]+_(?:HEAD|MSG)|config|packed-refs|index|shallow|description|info/exclude|ai-memory-(?:stale|roots)"
    r"|(?:logs|refs)/(?![^\0]*\.lock$).+|logs/HEAD"
    r"|objects/[0-9a-f]{2}/[0-9a-f]{38}|objects/pack/pack-[0-9a-f]{40}\.(?:pack|idx)"
)
_OPEN = (".gitignore", ".gitattributes")  # the only hidden names in a wiki that are no editor's
_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)', re.I)


def _whole(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("without a time zone")
    return moment


class Entry(Value):
    """One file of the archive: its time in Unix ns, the SHA-256 of its bytes."""

    path: str = Field(max_length=LONGEST)
    size: int = Field(ge=0)
    mtime: int = Field(ge=0, lt=1 << 63)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(Value):
    """What is in an archive: by which version of the program, when, and the version of the files (`formats`)."""

    product: Literal["ai-memory-mcp"] = "ai-memory-mcp"
    format: int = Field(ge=1)
    version: str = Field(max_length=100)
    made: Annotated[datetime, AfterValidator(_whole)]
    files: tuple[Entry, ...]

    @property
    def bytes(self) -> int:
        """How many bytes all files have."""
        return sum(one.size for one in self.files)


class _Head(BaseModel):
    """What is read first of a manifest, which may be of a version to come."""

    model_config = ConfigDict(extra="ignore")

    format: int
    version: str = ""


def refusal(path: str) -> str:
    """Say why a path is none that an archive may hold, '' for one that it may."""
    parts = path.split("/")
    if len(path) > LONGEST or not all(map(_plain, parts)):
        return "it has a name that not every system takes"
    if len(parts) == 1:
        return "" if path in FILES else "it is no file of a memory"
    if parts[0] not in FOLDERS:
        return "it is no file of a memory"
    inside = _WIKI.fullmatch(path)
    if inside is None:
        hidden = any(part.startswith(".") for part in parts)
        return "it is no file of a memory" if hidden or parts[0] == "wiki" else ""
    return _refusal_in_wiki(inside[1])


def _refusal_in_wiki(path: str) -> str:
    folder, _, rest = path.partition("/")
    if folder == ".git":
        return "" if _GIT.fullmatch(rest) else "git could run it, or be led elsewhere by it"
    if any(part.startswith(".") and part not in _OPEN for part in path.split("/")):
        return "it is hidden"
    if any(re.match(r"git~\d", part, re.I) for part in path.split("/")):
        return "it is another name of git's folder"
    return ""


def _plain(part: str) -> bool:
    """Tell whether a name is one that can be made and that stays where it is put."""
    if part in ("", ".", "..") or "\\" in part or len(part.encode("utf-8", "replace")) > 255:
        return False
    if sys.platform == "win32" and _WINDOWS.search(part):
        return False
    return not any(unicodedata.category(char) in ("Cc", "Cs", "Cn") for char in part)


# --- writing


class Packer:
    """Writes an archive; `files` are those in it so far, `left_out` those that no archive holds, with the reason."""

    def __init__(self, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self.files: dict[str, Entry] = {}
        self.left_out: dict[str, str] = {}

    def __enter__(self) -> Packer:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, ValueError):  # where it was broken off: it would try again once nobody can catch it
            self._archive.close()

    def add(self, path: Path, name: str, *, lines: bool = False) -> None:
        """Add a file under a name; with `lines` up to its last whole one. One that is gone meanwhile is no error:
        what it said is elsewhere. Raises OSError."""
        try:
            reason = refusal(name) or ("" if stat.S_ISREG(os.lstat(path).st_mode) else "it is a link, or no file")
            if reason:
                self.left_out[name] = reason
                return
            file = open(path, "rb")  # noqa: SIM115  closed below, where its absence is no error any more
        except FileNotFoundError:
            return
        digest, size = hashlib.sha256(), 0
        with file:
            found = os.fstat(file.fileno())
            with self._archive.open(_member(name, found.st_mtime), "w", force_zip64=found.st_size > 1 << 30) as out:
                for data in _chunks(file, lines=lines):
                    out.write(data)
                    digest.update(data)
                    size += len(data)
        mtime = max(0, found.st_mtime_ns)
        self.files[name] = Entry(path=name, size=size, mtime=mtime, sha256=digest.hexdigest())

    def finish(self, version: str, now: datetime) -> Manifest:
        """Add the manifest and end the archive."""
        manifest = Manifest(format=FORMAT, version=version, made=now, files=tuple(self.files.values()))
        self._archive.writestr(_member(MANIFEST, now.timestamp()), manifest.model_dump_json())
        self._archive.close()
        return manifest


def _member(name: str, mtime: float) -> zipfile.ZipInfo:
    when = time.gmtime(min(max(mtime, 315_619_200), 4_354_819_198))  # zip knows the years from 1980 to 2107
    member = zipfile.ZipInfo(name, when[:6])
    member.external_attr = (stat.S_IFREG | 0o600) << 16
    member.compress_type = (
        zipfile.ZIP_STORED if "/.git/objects/" in name or name.endswith(".gz") else zipfile.ZIP_DEFLATED
    )
    return member


def _chunks(file: IO[bytes], *, lines: bool) -> Iterator[bytes]:
    held = b""
    while data := file.read(CHUNK):
        if lines:
            cut = data.rfind(b"\n") + 1
            data, held = (held + data[:cut], data[cut:]) if cut else (b"", held + data)
        yield data


# --- reading


class Archive:
    """An archive whose lists hold: every file is named by the manifest, once, with a size that can be.

    Its bytes are only known to be right when `unpack` has come to its end.
    """

    def __init__(self, file: Path, *, caseless: bool = False) -> None:
        """Open one; `caseless` where the disk that it goes to takes two names for one that differ in case alone.

        Raises InputError for what is none, or not what it says.
        """
        self.file = file
        with self._damaged():
            self._archive = zipfile.ZipFile(file)
        try:
            with self._damaged():
                members = self._members()
                self.manifest, self.sum = self._manifest(members)
                self._compare(members, caseless)
            self._by_name = members
        except BaseException:
            self._archive.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def unpack(self, entry: Entry, target: Path | None) -> None:
        """Read one file to its last byte and check it; write it to `target`, which must not be there yet.

        Raises InputError for one that is not what the manifest says, OSError where the disk refuses.
        """
        digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        out = os.fdopen(os.open(target, flags, 0o600), "wb") if target else None
        try:
            for data in self._read(entry):
                digest.update(data)
                if out:
                    out.write(data)
        finally:
            if out:
                out.close()
        if digest.hexdigest() != entry.sha256:
            raise InputError(f"{self.file} is damaged: {entry.path!r} is not what was backed up. Nothing was restored.")
        if target:
            os.utime(target, ns=(entry.mtime, entry.mtime))

    def _read(self, entry: Entry) -> Iterator[bytes]:
        left = entry.size
        with self._damaged():
            source = self._archive.open(self._by_name[entry.path])
        with source:
            while True:
                with self._damaged():
                    data = source.read(min(CHUNK, left + 1))
                left -= len(data)
                if not data or left < 0:
                    break
                yield data
        if left:
            raise InputError(f"{self.file} is damaged: {entry.path!r} has another size. Nothing was restored.")

    def _members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        every = self._archive.infolist()
        if len(every) > MOST_FILES:
            raise self._wrong(f"it holds more than {MOST_FILES:,} files")
        for member in every:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.filename in found:
                raise self._wrong(f"it holds {member.filename[:100]!r} twice")
            if (
                not member.filename
                or member.is_dir()
                or kind not in (0, stat.S_IFREG)
                or member.orig_filename != member.filename
            ):
                raise self._wrong(f"{member.filename[:100]!r} in it is no plain file")
            if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise self._wrong(f"{member.filename[:100]!r} in it is packed as no backup is")
            if member.file_size > MOST_RATIO * (member.compress_size + 1):
                raise self._wrong(f"{member.filename[:100]!r} in it cannot be as large as it says")
            found[member.filename] = member
        if sum(member.compress_size for member in every) > self.file.stat().st_size:
            raise self._wrong("its files lie over each other")
        return found

    def _manifest(self, members: dict[str, zipfile.ZipInfo]) -> tuple[Manifest, str]:
        member = members.pop(MANIFEST, None)
        if member is None:
            raise self._wrong(f"it has no {MANIFEST}")
        if member.file_size > PER_FILE * (len(members) + 10) + 6 * sum(map(len, members)):
            raise self._wrong(f"its {MANIFEST} is too large")
        data = self._archive.read(member)
        try:
            head = _Head.model_validate_json(data)
            if head.format > FORMAT:
                raise InputError(
                    f"{self.file} was made by a newer version ({head.version[:50]}). Run: ai-memory-mcp upgrade"
                )
            return Manifest.model_validate_json(data), hashlib.sha256(data).hexdigest()
        except ValidationError as error:
            raise self._wrong(f"its {MANIFEST} cannot be read") from error

    def _compare(self, members: dict[str, zipfile.ZipInfo], caseless: bool) -> None:
        """Raise InputError unless manifest and members are of the same files, and all can lie beside each other."""
        places: dict[str, str] = {}
        told: set[str] = set()
        for entry in self.manifest.files:
            path = entry.path
            if reason := refusal(path):
                raise self._wrong(f"{path[:100]!r} in it: {reason}")
            if path in told or path not in members or members[path].file_size != entry.size:
                raise self._wrong(f"its {MANIFEST} does not say what is in it: {path[:100]!r}")
            told.add(path)
            parts = path.split("/")
            for depth in range(1, len(parts) + 1):
                place = "/".join(parts[:depth]) + ("" if depth == len(parts) else "/")
                key = _folded(place.rstrip("/")) if caseless else place.rstrip("/")
                if places.setdefault(key, place) != place:
                    raise self._wrong(f"{place!r} and {places[key]!r} in it cannot lie beside each other on this disk")
        if len(told) != len(members):
            raise self._wrong(f"it holds other files than its {MANIFEST} says")

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self.file} is no backup that can be restored: {what}. Nothing was restored.")

    @contextmanager
    def _damaged(self) -> Iterator[None]:
        """Turn what zipfile and zlib say of a file that is no sound archive into an InputError."""
        try:
            yield
        except FileNotFoundError as error:
            raise InputError(f"there is no file {self.file}") from error
        except (
            *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
            *(NotImplementedError, RuntimeError, ValueError, OverflowError),
        ) as error:
            raise InputError(f"{self.file} is no backup, or damaged: {error}. Nothing was restored.") from error


def caseless(folder: Path) -> bool:
    """Tell whether a folder's disk takes names for one that differ in case alone. Raises OSError."""
    probe = private_dir(folder) / f".case-{os.urandom(4).hex()}"
    probe.touch()
    try:
        return probe.with_name(probe.name.upper()).exists()
    finally:
        probe.unlink()


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


# --- git's settings

_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = false
\tbare = false
\tlogallrefupdates = true
\tautocrlf = false
"""
_SETTINGS = {"remote": ("url", "fetch"), "branch": ("remote", "merge"), "user": ("name", "email")}
_SECTION = re.compile(r'\[([a-z]+)(?: "([\w./ -]+)")?\]', re.I)
_SETTING = re.compile(r"([a-z]+)\s*=\s*([^\\\"#;\x00-\x1f]+)", re.I)


def tamed(config: str) -> str:
    """Return git's settings of a wiki anew, with remotes, branches and who the user is, and nothing that could run a
    program or read another file."""
    told, section = [_CONFIG.rstrip("\n")], ""
    for line in map(str.strip, config.splitlines()):
        head, setting = _SECTION.fullmatch(line), _SETTING.fullmatch(line)
        if line.startswith("["):
            section = head[1].lower() if head and head[1].lower() in _SETTINGS else ""
            if section and head:
                told.append(f'[{section} "{head[2]}"]' if head[2] else f"[{section}]")
        elif setting and setting[1].lower() in _SETTINGS.get(section, ()):
            told.append(f"\t{setting[1].lower()} = {setting[2].strip()}")
    return "\n".join(told) + "\n"
