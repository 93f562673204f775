"""Wire agents to us and unwire them: plan first, then `changes.apply`.

Nothing here knows an agent by name: places and shapes come from its `AgentSpec`. One bad file never stops the
others: what cannot be done is collected in the plan, and that file is left alone as a whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ai_memory_mcp.agents import tomledit
from ai_memory_mcp.agents.changes import (
    Change,
    FileRecord,
    Installed,
    Plan,
    load_installed,
    read_backup,
    read_settings,
    sha256,
)
from ai_memory_mcp.agents.jsonedit import EditError
from ai_memory_mcp.agents.pieces import PARTS, Piece, Target, locate, piece_at, pieces, places, settings_path
from ai_memory_mcp.agents.plugin import MARK
from ai_memory_mcp.agents.spec import SERVER_KEY, AgentSpec
from ai_memory_mcp.agents.trustkeys import TRUST_TABLE, moved_trust_keys, own_trust_keys, unwire_trust
from ai_memory_mcp.agents.wiring import Draft, Launch, Part
from ai_memory_mcp.errors import InstallError

State = Literal["unsupported", "missing", "wired", "outdated", "broken"]


@dataclass(frozen=True)
class Found:
    """An agent on this machine: its folder or file, and its executable."""

    spec: AgentSpec
    home: Path | None
    executable: str | None


@dataclass(frozen=True)
class Wired:
    """How one agent stands. `trusted` is None where hooks need no trust; `errors` say what is broken."""

    mcp: State
    hooks: State
    trusted: bool | None = None
    errors: tuple[str, ...] = ()


@dataclass
class _Open:
    """A settings file in work."""

    path: Path
    before: bytes | None
    record: FileRecord | None
    draft: Draft
    wired: list[tuple[str, str]]


def detect(specs: Sequence[AgentSpec], target: Target, which: Callable[[str], str | None]) -> list[Found]:
    """Return the agents that have a settings folder here or an executable on the path."""
    found = []
    for spec in specs:
        here = replace(target, project=None)
        home = next((place for place in places(spec.homes, spec, here) if place.exists()), None)
        executable = next(filter(None, map(which, spec.executables)), None)
        if home or executable:
            found.append(Found(spec, home, executable))
    return found


def plan(
    specs: Sequence[AgentSpec],
    target: Target,
    launch: Launch,
    memory_home: Path,
    parts: Sequence[Part] = PARTS,
) -> Plan:
    """Return what wiring these agents would change. Nothing is written; errors are collected, not raised."""
    work = _Work(load_installed(memory_home))
    for spec in specs:
        found = pieces(spec, target, launch, parts)
        for part in parts:
            if not any(piece.part == part for piece in found):
                work.plan.already.append(f"{spec.title}: no {part} settings at this level")
        for piece in found:
            work.edit(piece.path, spec, piece.name, piece.wire)
    return work.wiring_plan()


def plan_edit(path: Path, spec: AgentSpec, part: str, change: Callable[[Draft], None], memory_home: Path) -> Plan:
    """Return the plan of one edit of one settings file, recorded like the rest of the wiring."""
    work = _Work(load_installed(memory_home))
    work.edit(path, spec, part, change)
    return work.wiring_plan()


def uninstall(specs: Sequence[AgentSpec], target: Target, launch: Launch, memory_home: Path) -> Plan:
    """Return what taking these agents' wiring out would change, project files on record included.

    A file that still holds what we wrote gets its original bytes back; any other loses our entries only.
    """
    work = _Work(load_installed(memory_home))
    names = {spec.name: spec for spec in specs}
    for path, name, part in _places(specs, target, launch, work.installed):
        if not _may_hold_ours(path, launch, work.installed):
            continue
        work.edit(path, names[name], part, _unwiring(names[name], path, part, target, launch, work.installed))
    for file in work.files.values():
        change = _uninstall_change(file, set(names), memory_home)
        if change is not None:
            work.plan.changes.append(change)
        elif file.record is not None:
            work.plan.forget.append(str(file.path))
    return work.plan


def _unwiring(
    spec: AgentSpec, path: Path, part: str, target: Target, launch: Launch, installed: Installed
) -> Callable[[Draft], None]:
    if part == "trust":
        on_record = [Path(path) for path, record in installed.files.items() if (spec.name, "hooks") in record.wired]
        usual = settings_path(spec, "hooks", target)
        files = {*on_record, *([usual] if usual else [])}
        keys = {key for file in files for forms in own_trust_keys(spec, file, launch) for key in forms}
        moved: dict[str, str] = {}
        for file in files:
            moved |= moved_trust_keys(spec, file, launch)
        return lambda draft: unwire_trust(draft, keys, moved)
    return piece_at(spec, part, path, launch).unwire


def wired(spec: AgentSpec, target: Target, launch: Launch) -> Wired:
    """Return how this agent stands now."""
    errors: list[str] = []
    found = pieces(spec, target, launch)
    states = [(piece.part, _state(piece, errors)) for piece in found]
    mcp, hooks = (_of_part([state for part, state in states if part == wanted]) for wanted in PARTS)
    trusted = None
    if spec.hooks is not None and spec.hooks.trust and hooks in ("wired", "outdated"):
        trusted = _is_trusted(spec, target, launch)
    return Wired(mcp, hooks, trusted, tuple(errors))


def _of_part(states: list[State]) -> State:
    """How a part stands by its pieces: broken when one is, and half-wired is as good as outdated."""
    if not states:
        return "unsupported"
    if "broken" in states or len(set(states)) == 1:
        return "broken" if "broken" in states else states[0]
    return "outdated"


def _state(piece: Piece, errors: list[str]) -> State:
    path = piece.path
    try:
        draft = Draft(_text(path.read_bytes() if path.exists() else None))
        ours = piece.is_wired(draft.text)
        piece.wire(draft)  # says also of a file without us whether it can be read at all
    except (InstallError, OSError) as error:
        errors.append(f"{path}: {error}")
        return "broken"
    if not ours:
        return "missing"
    return "outdated" if draft.notes else "wired"


def _is_trusted(spec: AgentSpec, target: Target, launch: Launch) -> bool:
    """Tell whether every hook of ours has a trust entry; whether its hash is right, only the agent knows."""
    assert spec.hooks is not None
    hooks = settings_path(spec, "hooks", target)
    path = locate(spec.hooks.trust_file, spec, target)
    if hooks is None or not path.is_file():
        return False
    state = tomledit.get(_text(path.read_bytes()), TRUST_TABLE)
    trusted = set(state) if isinstance(state, dict) else set()
    keys = own_trust_keys(spec, hooks, launch)
    return all(any(key in trusted for key in forms) for forms in keys)


class _Work:
    """The files in work, by real path, so that two parts in one file become one change."""

    def __init__(self, installed: Installed) -> None:
        self.installed = installed
        self.plan = Plan()
        self.files: dict[Path, _Open] = {}
        self.failed: set[Path] = set()

    def edit(self, path: Path, spec: AgentSpec, part: str, change: Callable[[Draft], None]) -> None:
        real = Path(os.path.realpath(path))
        if real in self.failed:
            return
        try:
            file = self.files.get(real) or self._open(real)
            change(file.draft)
            file.wired.append((spec.name, part))
            self.files[real] = file
        except InstallError as error:
            self.failed.add(real)
            self.files.pop(real, None)
            self.plan.errors.append(_explained(spec, path, error))

    def wiring_plan(self) -> Plan:
        for path, file in self.files.items():
            change = _install_change(file)
            if change is None:
                self.plan.already.append(f"{path}: already wired")
            else:
                self.plan.changes.append(change)
        return self.plan

    def _open(self, path: Path) -> _Open:
        before = read_settings(path)
        record = self.installed.files.get(str(path))
        draft = Draft(_text(before))
        if record and before is not None and sha256(before) != record.original:
            draft.trace = record.trace.model_copy(deep=True)
        return _Open(path, before, record, draft, [])


def _explained(spec: AgentSpec, path: Path, error: InstallError) -> InstallError:
    if not isinstance(error, EditError):
        return InstallError(f"{spec.title}: {error}")
    return InstallError(f"{spec.title}: {path} was left alone. {error}. Mend the file there and try again.")


def _text(data: bytes | None) -> str:
    try:
        return (data or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise EditError(f"byte {error.start} is not UTF-8") from None


# Installing


def _install_change(file: _Open) -> Change | None:
    after = file.draft.text.encode("utf-8")
    if after == (file.before or b""):
        return None
    open_parts = ("hooks", "plugin")  # what holds no secrets
    mode = 0o644 if all(part.partition(" ")[0] in open_parts for _, part in file.wired) else 0o600
    record = _install_record(file, sha256(after))
    return Change(file.path, file.before, after, _summary(file), record, mode)


def _install_record(file: _Open, wrote: str) -> FileRecord:
    old, before = file.record, file.before
    pairs = sorted({*(old.wired if old else ()), *file.wired})
    if old and before is not None and sha256(before) in old.wrote:
        update = {"wired": pairs, "wrote": [*old.wrote, wrote], "trace": file.draft.trace}
        return old.model_copy(update=update)
    if old and before is not None and sha256(before) != old.original:
        # Changed by others since: the original bytes are out of reach, what we inserted is still known.
        return FileRecord(wired=pairs, existed=old.existed, folders=old.folders, trace=file.draft.trace)
    return FileRecord(
        wired=pairs,
        existed=before is not None,
        original="" if before is None else sha256(before),
        wrote=[wrote],
        trace=file.draft.trace,
    )


def _summary(file: _Open) -> tuple[str, ...]:
    verbs = dict.fromkeys(verb for verb, _ in file.draft.notes)
    return tuple(f"{verb} {', '.join(name for did, name in file.draft.notes if did == verb)}" for verb in verbs)


# Uninstalling


def _places(
    specs: Sequence[AgentSpec], target: Target, launch: Launch, installed: Installed
) -> Iterator[tuple[Path, str, str]]:
    """Every file and part where something of ours may be: the usual places, then those on record."""
    seen: set[tuple[str, str, str]] = set()
    usual = [(path, spec.name, part) for spec in specs for path, part in _usual_places(spec, target, launch)]
    names = {spec.name for spec in specs}
    on_record = [
        (Path(path), name, part)
        for path, record in installed.files.items()
        for name, part in record.wired
        if name in names and (target.project is None or target.project.resolve() in Path(path).parents)
    ]
    for path, name, part in usual + on_record:
        key = (os.path.realpath(path), name, part)
        if key not in seen:
            seen.add(key)
            yield path, name, part


def _may_hold_ours(path: Path, launch: Launch, installed: Installed) -> bool:
    """Tell whether a look inside is worth it: a foreign file that does not parse is no concern of ours."""
    real = os.path.realpath(path)
    if real in installed.files:
        return True
    try:
        data = Path(real).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    words = (SERVER_KEY, Path(launch.emit).name, "trusted_hash", MARK)
    return any(word.encode("utf-8") in data for word in words)


def _usual_places(spec: AgentSpec, target: Target, launch: Launch) -> Iterator[tuple[Path, str]]:
    if spec.hooks is not None and spec.hooks.trust_file:
        yield locate(spec.hooks.trust_file, spec, target), "trust"
    for piece in pieces(spec, target, launch):
        yield piece.path, piece.name


def _uninstall_change(file: _Open, names: set[str], memory_home: Path) -> Change | None:
    record, before = file.record, file.before
    if before is None or (record and record.original == sha256(before)):
        return None
    left = [pair for pair in record.wired if pair[0] not in names] if record else []
    if record and sha256(before) in record.wrote and not left:
        original = read_backup(memory_home, record)
        if original is not None or not record.existed:
            return Change(file.path, before, original, _summary(file), folders=tuple(record.folders))
    if not file.draft.notes:
        return None
    after: bytes | None = file.draft.text.encode("utf-8")
    if record and not record.existed and not file.draft.text.strip():
        after = None
    kept = None
    if record and left:
        update = {"wired": left, "original": "", "wrote": [], "trace": file.draft.trace}
        kept = record.model_copy(update=update)
    folders = tuple(record.folders) if record else ()
    return Change(file.path, before, after, _summary(file), kept, folders=folders)
