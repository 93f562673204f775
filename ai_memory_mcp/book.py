"""What a client of a server keeps of its own: which project each folder of this machine is, and the machine's number.

Folders mean nothing to the server, so they are told apart here, by the same rules as in `registry`. The record is
`machine.json`. Repositories and markers say by themselves what they are; the memory of a plain folder is found
through this record alone.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict, Field, ValidationError

from ai_memory_mcp import registry
from ai_memory_mcp.errors import StorageError
from ai_memory_mcp.files import locked, private_dir, storage_error, write_atomic
from ai_memory_mcp.model import Event, Origin, Project, Value
from ai_memory_mcp.project import Identity, branch_of, identify


class Record(Value):
    """The content of `machine.json`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    machine: int = Field(ge=1, lt=2**20)
    projects: tuple[Project, ...] = ()


class Book:
    """The record of one AI_MEMORY_HOME. Read anew at each look: other processes write it as well."""

    def __init__(self, home: Path, user_home: str) -> None:
        self.path = home / "machine.json"
        self.user_home = user_home
        self._lock = home / "locks" / "projects.lock"

    def machine(self) -> int:
        """Return the number of this machine, given at the first need."""
        return (self._read() or self._change()).machine

    def look(self, cwd: str, *, keep: bool = False) -> tuple[Identity, Project]:
        """Say which project a folder is. With `keep` one that is new is recorded, else nothing is changed.

        Raises ProjectError when its `.ai-memory.toml` is broken.
        """
        identity = identify(cwd, self.user_home)
        known = self._known()
        judged, project = registry.looked_up(identity, known)
        if not keep or identity.by == "none" or registry.is_settled(judged, project, known):
            return judged, project
        project = self._record(judged)
        return (judged if judged.id else identify(cwd, self.user_home)), project  # its stamps have changed with the id

    def origin(self, cwd: str, *, keep: bool = False) -> Origin:
        """Say for the server which project a folder is."""
        return origin_of(*self.look(cwd, keep=keep))

    def origin_of_event(self, event: Event) -> Origin:
        """Say the same of the place of an event; one that is gone belongs where it belonged."""
        gone = registry.of_gone(event.root, event.marker, self._known())
        at = max(event.root, os.path.dirname(event.marker), key=len) or event.cwd
        return origin_of(identify(at, self.user_home), gone) if gone else self.origin(at, keep=True)

    def _record(self, identity: Identity) -> Project:
        with locked(self._lock, timeout=registry.LOCK_WAIT):
            record = self._read() or self._begun()
            project = registry.joined(identity, record.projects)
            others = tuple(one for one in record.projects if one.id != project.id)
            self._write(record.model_copy(update={"projects": (*others, project)}))
        return project

    def _change(self) -> Record:
        with locked(self._lock, timeout=registry.LOCK_WAIT):
            record = self._read() or self._begun()
            self._write(record)
        return record

    def _known(self) -> Sequence[Project]:
        return (self._read() or self._begun()).projects

    def _read(self) -> Record | None:
        try:
            return Record.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error("read", self.path, error) from error
        except ValidationError as error:
            raise StorageError(
                f"{self.path} is damaged; move it away. Only folders without git get a new memory by that."
            ) from error

    def _begun(self) -> Record:
        """Return the first record: the projects that this machine knew before it became a client."""
        found = [registry.on_disk(path.parent) for path in sorted((self.path.parent / "wiki").glob("*/*/project.md"))]
        return Record(machine=secrets.randbelow(2**20 - 1) + 1, projects=tuple(found))

    def _write(self, record: Record) -> None:
        private_dir(self.path.parent)
        data = json.dumps(record.model_dump(mode="json"), ensure_ascii=False, indent=1)
        write_atomic(self.path, data.encode("utf-8", "replace") + b"\n")


def origin_of(identity: Identity, project: Project) -> Origin:
    """Return what the server is told about a folder: the words that are in it, and the project's id here."""
    return Origin(
        by=identity.by,
        workspace=project.workspace,
        name=_sent(identity.name)[:300],
        id=project.id,
        remote=_sent(identity.remote or next(iter(project.remotes), "")),
        root=_sent(identity.root),
        branch=_sent(branch_of(identity.root)) if identity.root else "",
    )


def _sent(text: str) -> str:
    """Names on a disk may be no text at all."""
    return text.encode("utf-8", "replace").decode()
