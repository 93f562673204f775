"""What a record of the journal does to the index. Ingest and reindex both go through here, so that a rebuilt index
is the same index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from ai_memory_mcp import sessions
from ai_memory_mcp.index import rows
from ai_memory_mcp.index.db import Connection, Index
from ai_memory_mcp.index.rows import SessionRow
from ai_memory_mcp.journal import PACKED, Journal
from ai_memory_mcp.model import Feedback, Observation
from ai_memory_mcp.observe import is_real_prompt
from ai_memory_mcp.tombstones import Tombstones

_USES = "uses:"  # + project id, among the facts about the index: bytes of the file that were counted


def rewrite(index: Index, journal: Journal, name: str, records: Sequence[dict[str, Any]]) -> None:
    """Put records in place of all that a journal file says, and have the index follow. Raises StorageError.

    The index forgets first how much of the file it knows: killed in between, the next ingest reads all of it anew.
    """
    with index.write() as db:
        rows.set_file_size(db, name, 0)
    with index.write() as db:
        size = journal.replace(name, [json.dumps(one, ensure_ascii=False) for one in records])
        ledger = Ledger(db)
        for record in records:
            ledger.apply(record)
        ledger.flush()
        rows.set_file_size(db, name, size)


class Ledger:
    """Applies records within one index transaction; keeps the sessions it touches in memory until `flush`."""

    def __init__(self, db: Connection, gone: Tombstones | None = None) -> None:
        self.db = db
        self._gone = gone  # sessions that must not come back out of the journal
        self._rows: dict[str, SessionRow | None] = {}
        self._changed: set[str] = set()
        self._heard: set[str] = set()  # terms, for the vocabulary
        self._last_number: int | None = None  # of a session
        self._natives: dict[tuple[str, str], dict[str, None]] = {}  # ids of our sessions by the agent's own id

    def session(self, session_id: str) -> SessionRow | None:
        """Return a session as it is after what was applied so far."""
        if session_id not in self._rows:
            self._rows[session_id] = rows.session(self.db, session_id)
        return self._rows[session_id]

    def natives(self, agent: str, native_id: str) -> list[SessionRow]:
        """Return the sessions with the agent's own id, the last active first."""
        ids = self._natives.get((agent, native_id))
        if ids is None:
            stored = rows.native_sessions(self.db, agent, native_id)
            self._rows |= {row.id: row for row in stored if row.id not in self._rows}
            mine = (row for row in self._rows.values() if row and (row.agent, row.native_id) == (agent, native_id))
            ids = self._natives[agent, native_id] = dict.fromkeys(row.id for row in (*stored, *mine))
        found = [row for one in ids if (row := self._rows[one])]
        return sorted(found, key=lambda row: row.last, reverse=True)

    def running(self, agent: str, pid: int) -> list[SessionRow]:
        """Return the agent's sessions in this process that have not ended; none where the process is not known."""
        known = {row.id: row for row in rows.unsettled(self.db)} | self._rows
        return [row for row in known.values() if row and pid and (row.agent, row.pid) == (agent, pid) and not row.over]

    def keep(self, row: SessionRow) -> None:
        """Note a changed session; a new one gets its number."""
        if not row.number:
            self._last_number = 1 + (rows.last_number(self.db) if self._last_number is None else self._last_number)
            row = row.model_copy(update={"number": self._last_number})
        self._rows[row.id] = row
        self._changed.add(row.id)
        natives = self._natives.get((row.agent, row.native_id))
        if natives is not None:
            natives[row.id] = None

    def flush(self) -> None:
        """Write the changed sessions and the words that were new."""
        for session_id in sorted(self._changed):
            row = self._rows[session_id]
            if row:
                rows.put_session(self.db, row)
        self._changed.clear()
        rows.learn(self.db, self._heard)
        self._heard.clear()

    def apply(self, record: dict[str, Any]) -> None:
        """Apply one record of the journal; a record that was applied before changes nothing."""
        told = dict(record)
        kind = told.pop("type", "")
        if kind == "session":
            if self.session(told["id"]) is None and not (self._gone and self._gone.has("session", told["id"])):
                self.keep(SessionRow.model_validate(told))
        elif kind == "observation":
            self.observe(Observation.model_validate(told))
        elif kind == "offer":
            at = rows.millis(datetime.fromisoformat(told["at"]))
            rows.put_offer(self.db, told["id"], told["session"], told["handoff"], at)
            row = self.session(told["session"])
            if row:
                self.keep(row.model_copy(update={"dirty": True}))
        elif kind == "end":
            row = self.session(told["session"])
            if row:
                gone = datetime.fromisoformat(told["at"])
                self.keep(row.model_copy(update={"end_seen": True, "dirty": True, "gone": gone}))
        elif kind == "close":
            row = self.session(told["session"])
            if row:
                row = sessions.fold_close(row, datetime.fromisoformat(told["at"]))
                self.keep(row.model_copy(update={"page": told.get("page"), "title": told.get("title") or row.title}))
        elif kind == "pruned":
            row = self.session(told["row"]["id"])
            if row:
                rows.drop_observations(self.db, row.id)
                self.keep(SessionRow.model_validate({**told["row"], "number": row.number}))
        elif kind == "unstored-sum":
            rows.put_unstored_sums(self.db, {(why, project): count for why, project, count in told["counts"]})
        elif kind == "unstored":
            rows.put_unstored(self.db, told["id"], told["why"], told.get("project", ""))
        elif kind == "feedback":
            rows.put_feedback(self.db, told.pop("project"), Feedback.model_validate(told))

    def catch_up(self, journal: Journal) -> None:
        """Apply what the journal holds beyond what is indexed of it: a crash came between the two."""
        known = rows.file_sizes(self.db)
        changed = [name for name, size in journal.sizes().items() if size != known.get(name, 0)]
        for name in sorted(changed, key=journal.begun):  # search takes later rows for newer ones
            self._catch_up(journal, name, known.get(name, 0))
        self.flush()
        noted = rows.metas(self.db, _USES)
        for project, size in journal.uses_sizes().items():
            if noted.get(project) != str(size):
                rows.put_uses(self.db, project, journal.uses(project))
                rows.set_meta(self.db, _USES + project, str(size))

    def catch_up_file(self, journal: Journal, name: str) -> None:
        """The same for one file."""
        self._catch_up(journal, name, rows.file_sizes(self.db).get(name, 0))
        self.flush()

    def _catch_up(self, journal: Journal, name: str, known: int) -> None:
        if name.endswith(PACKED):
            self._catch_up_packed(journal, name)
            return
        whole = journal.whole_size(name)
        for record in journal.read(name, known if whole >= known else 0):
            with suppress(ValueError, KeyError, TypeError):  # a damaged line must not take the others with it
                self.apply(record)
        rows.set_file_size(self.db, name, whole)

    def _catch_up_packed(self, journal: Journal, name: str) -> None:
        """A compressed file is what the plain one was; both sizes are noted, so that either is known."""
        plain, size = name.removesuffix(PACKED), journal.size(name)
        whole = journal.whole_size(name)
        if rows.file_sizes(self.db).get(plain, 0) != whole:
            for record in journal.read(name):
                with suppress(ValueError, KeyError, TypeError):
                    self.apply(record)
            rows.set_file_size(self.db, plain, whole)
        rows.set_file_size(self.db, name, size)

    def observe(self, observation: Observation) -> None:
        """Store an observation of a known session; one that is already there changes nothing."""
        row = self.session(observation.session)
        if row is None:
            return
        real = is_real_prompt(observation)
        if rows.put_observation(self.db, row, observation, real=real, heard=self._heard):
            self.keep(sessions.fold(row, observation))
