"""Reading and writing records of the index. Functions take the connection of one operation; no SQL outside of this
package. Records are stored as JSON of their model beside the columns that are asked for."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache

from ai_memory_mcp.index import facts
from ai_memory_mcp.index.schema import PASSAGE_BITS, SEQ_BITS
from ai_memory_mcp.journal import PACKED
from ai_memory_mcp.model import PAST, VERDICTS, Counts, Feedback, Handoff, Observation, Page, Project, Session
from ai_memory_mcp.passages import passages
from ai_memory_mcp.ranking import scope_token
from ai_memory_mcp.terms import last_characters, spellings, terms

Db = sqlite3.Connection  # the name by which operations pass a connection on; only this package uses it
SUMS = "unstored:"  # + why:project id, among the facts: how many events, but for those that the table has
WRITTEN = "kind NOT IN ('project', 'index', 'lint', 'handoff')"  # pages that are counted: the others are generated
TROUBLE = "trouble:"  # + project id, among the facts: why a project could not be settled
_LAST = 253_402_300_799_999  # ms; the end of the year 9999
SHORTEST, LONGEST = 5, 24  # letters of a word of the vocabulary
_WORK = ("pre-tool", "post-tool", "tool-failure", "assistant-message", "stop")  # what only a prompt leads to


class SessionRow(Session):
    """A session with what ingest has to know of it: is there something to settle, has an end been seen."""

    number: int = 0  # in the order in which the index came to know them; see SEQ_BITS
    dirty: bool = False
    end_seen: bool = False
    past: bool = False  # nobody was there: all that is known of it was imported later
    pruned: datetime | None = None  # up to when its raw observations were taken out
    begun: datetime | None = None  # when the agent last said that it started or resumed this session
    gone: datetime | None = None  # when it was last seen that the agent is gone

    @property
    def over(self) -> bool:
        """Whether it is closed or its end has been seen."""
        return self.end_seen or self.state == "closed"

    def plain(self) -> Session:
        """Return the session as the world knows it."""
        inner = {"number", "dirty", "end_seen", "past", "pruned", "begun", "gone"}
        return Session.model_validate(self.model_dump(exclude=inner))


def millis(when: datetime) -> int:
    """Return Unix milliseconds; never more than can be made a time again."""
    return min(round(when.timestamp() * 1000), _LAST)


# --- meta


def set_meta(db: sqlite3.Connection, key: str, value: str) -> None:
    """Keep a fact about the index itself."""
    db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, value))


def drop_meta(db: sqlite3.Connection, key: str) -> None:
    """Forget such a fact."""
    db.execute("DELETE FROM meta WHERE key = ?", (key,))


def metas(db: sqlite3.Connection, prefix: str) -> dict[str, str]:
    """Return the facts whose key begins with `prefix`, without it."""
    rows = db.execute("SELECT key, value FROM meta WHERE substr(key, 1, ?) = ? ORDER BY key", (len(prefix), prefix))
    return {row["key"][len(prefix) :]: row["value"] for row in rows}


def troubles(db: sqlite3.Connection) -> list[str]:
    """Say which projects could not be settled, and why."""
    known = {project.id: project.name for project in projects(db)}
    return [f"{known.get(project_id, project_id)}: {error}" for project_id, error in metas(db, TROUBLE).items()]


# --- projects


def put_project(db: sqlite3.Connection, project: Project) -> None:
    """Store a project."""
    db.execute(
        "INSERT OR REPLACE INTO projects (id, name, workspace, record) VALUES (?, ?, ?, ?)",
        (project.id, project.name, project.workspace, project.model_dump_json()),
    )


def projects(db: sqlite3.Connection) -> list[Project]:
    """Return every project, by workspace and name."""
    rows = db.execute("SELECT record FROM projects ORDER BY workspace, name, id")
    return [_project(row["record"]) for row in rows]


def project(db: sqlite3.Connection, project_id: str) -> Project | None:
    """Return one project."""
    row = db.execute("SELECT record FROM projects WHERE id = ?", (project_id,)).fetchone()
    return _project(row["record"]) if row else None


@lru_cache(maxsize=4096)
def _project(record: str) -> Project:
    """Every command reads all projects, some twice; values do not change, so one parse of a record serves all."""
    return Project.model_validate_json(record)


# --- sessions


def put_session(db: sqlite3.Connection, row: SessionRow) -> None:
    """Store a session."""
    db.execute(
        "INSERT OR REPLACE INTO sessions (id, number, project, agent, native_id, state, last,"
        " observations, dirty, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.id,
            row.number,
            row.project,
            row.agent,
            row.native_id,
            row.state,
            millis(row.last),
            row.observations,
            int(row.dirty),
            row.model_dump_json(),
        ),
    )


def last_number(db: sqlite3.Connection) -> int:
    """Return the highest number of a session."""
    return int(db.execute("SELECT coalesce(max(number), 0) FROM sessions").fetchone()[0])


def session(db: sqlite3.Connection, session_id: str) -> SessionRow | None:
    """Return one session by our id."""
    row = db.execute("SELECT record FROM sessions WHERE id = ?", (session_id,)).fetchone()
    return SessionRow.model_validate_json(row["record"]) if row else None


def native_sessions(db: sqlite3.Connection, agent: str, native_id: str) -> list[SessionRow]:
    """Return the sessions (one per project) with the agent's own id, the last active first."""
    rows = db.execute(
        "SELECT record FROM sessions WHERE agent = ? AND native_id = ? ORDER BY last DESC", (agent, native_id)
    )
    return [SessionRow.model_validate_json(row["record"]) for row in rows]


def sessions(db: sqlite3.Connection, project_id: str = "", limit: int = 20) -> list[SessionRow]:
    """Return sessions of a project (of all when empty), newest first."""
    where, args = ("WHERE project = ?", (project_id,)) if project_id else ("", ())
    sql = f"SELECT record FROM sessions {where} ORDER BY last DESC, id LIMIT ?"
    return [SessionRow.model_validate_json(row["record"]) for row in db.execute(sql, (*args, limit))]


def find_sessions(db: sqlite3.Connection, ref: str, project_id: str) -> list[SessionRow]:
    """Return sessions whose own or native id is, or (from 6 characters) starts with, `ref`."""
    like = ref.replace("%", "").replace("_", "") + "%" if len(ref) >= 6 else ref
    rows = db.execute(
        "SELECT record FROM sessions WHERE (id = ? OR native_id = ? OR id LIKE ? OR native_id LIKE ?)"
        " AND (project = ? OR ? = '') ORDER BY last DESC LIMIT 10",
        (ref, ref, like, like, project_id, project_id),
    )
    return [SessionRow.model_validate_json(row["record"]) for row in rows]


def last_events(db: sqlite3.Connection) -> dict[str, datetime]:
    """Return when each agent's newest observation was made."""
    rows = db.execute("SELECT agent, max(last) AS at FROM sessions GROUP BY agent")
    return {row["agent"]: datetime.fromtimestamp(row["at"] / 1000, timezone.utc) for row in rows}


def drop_session(db: sqlite3.Connection, session_id: str) -> None:
    """Forget a session and its observations."""
    for table, column in (("observations", "session"), ("offers", "session"), ("sessions", "id")):
        db.execute(f"DELETE FROM {table} WHERE {column} = ?", (session_id,))


def made_in(db: sqlite3.Connection, project_id: str, row: SessionRow) -> list[tuple[str, str]]:
    """Return (project, path) of the pages that were written in a session, by what their front matter says."""
    paths = facts.having(db, project_id, facts.SESSION, (row.id, row.native_id))
    return [(project_id, path) for path in paths]


def is_behind(db: sqlite3.Connection) -> bool:
    """Tell whether something that was taken in is not settled yet, but for projects that cannot be."""
    sql = "SELECT 1 FROM sessions WHERE dirty = 1 AND ? || project NOT IN (SELECT key FROM meta) LIMIT 1"
    return db.execute(sql, (TROUBLE,)).fetchone() is not None


def unsettled(db: sqlite3.Connection, project_id: str = "") -> list[SessionRow]:
    """Return the sessions (of a project, if one is named) that have something to settle or are open, oldest first."""
    of_project = "project = ? AND " if project_id else ""
    sql = f"SELECT record FROM sessions WHERE {of_project}(dirty = 1 OR state = 'open') ORDER BY last, id"
    rows = db.execute(sql, [project_id] * bool(project_id))
    return [SessionRow.model_validate_json(row["record"]) for row in rows]


# --- observations


def put_observation(
    db: sqlite3.Connection, row: SessionRow, observation: Observation, *, real: bool, heard: set[str]
) -> bool:
    """Store an observation of a session; its words are added to `heard`. One with a known id is left as it is.

    It is numbered by how many the session had, so neighbours are one apart. Tells whether it was new.
    """
    text = observation.text if not observation.output else f"{observation.text}\n{observation.output}"
    if text and observation.title and not text.startswith(observation.title.rstrip("…")):
        text = f"{observation.title}\n{text}"
    found = terms(text)
    done = db.execute(
        "INSERT INTO observations (rowid, id, session, project, at, kind, real, key, title, text, body, length, scope)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        (
            row.number << SEQ_BITS | row.observations,
            observation.id,
            row.id,
            row.project,
            millis(observation.at),
            observation.kind,
            int(real),
            observation.key,
            observation.title,
            text,
            " ".join([*found, *last_characters(text)]),
            len(found),
            _scope(row.project, observation.kind, row.agent),
        ),
    )
    if done.rowcount > 0:
        heard |= spellings(text)
        db.execute("DELETE FROM unstored WHERE id = ?", (observation.id,))  # it was set aside once
    return done.rowcount > 0


def _scope(project_id: str, kind: str, agent: str) -> str:
    """Return the scope tokens of a row: its project, its kind, its agent (`claude-code` is `claude` too)."""
    family = agent.partition("-")[0]
    tokens = [scope_token("p", project_id), scope_token("k", kind)]
    return " ".join([*tokens, *(scope_token("a", name) for name in dict.fromkeys((agent, family)) if name)])


def learn(db: sqlite3.Connection, heard: Iterable[str]) -> None:
    """Make the vocabulary know these words, so that a misspelt one is understood."""
    words = sorted(word for word in heard if SHORTEST <= len(word) <= LONGEST)
    for start in range(0, len(words), 500):
        some = words[start : start + 500]
        marks = ",".join("?" * len(some))
        known = {row["word"] for row in db.execute(f"SELECT word FROM vocabulary WHERE word IN ({marks})", some)}
        db.executemany(
            "INSERT INTO vocabulary (word, grams) VALUES (?, ?)",
            [(word, " ".join(grams(word))) for word in some if word not in known],
        )


def grams(word: str) -> list[str]:
    """Return the runs of three characters of a word between marks of its ends."""
    marked = f"_{word}_"
    return [marked[i : i + 3] for i in range(len(marked) - 2)]


def drop_observations(db: sqlite3.Connection, session_id: str) -> None:
    """Forget the observations of a session; the session stays, and how many they were."""
    db.execute("DELETE FROM observations WHERE session = ?", (session_id,))


def known_events(db: sqlite3.Connection, ids: Sequence[str]) -> set[str]:
    """Return which of these events were already taken in. One that was set aside was not: it may be tried again."""
    found: set[str] = set()
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        marks = ",".join("?" * len(some))
        sql = (
            f"SELECT id FROM observations WHERE id IN ({marks}) UNION ALL SELECT id FROM offers WHERE id IN ({marks})"
            f" UNION ALL SELECT id FROM unstored WHERE id IN ({marks}) AND why <> 'set_aside'"
        )
        found.update(row["id"] for row in db.execute(sql, (*some, *some, *some)))
    return found


def times_of_key(db: sqlite3.Connection, session_id: str, key: str) -> list[int]:
    """Return when (Unix ms) the session had observations of this identity."""
    rows = db.execute("SELECT at FROM observations WHERE session = ? AND key = ?", (session_id, key))
    return [row["at"] for row in rows]


def heard_live(db: sqlite3.Connection, session_id: str) -> tuple[int, int] | None:
    """Return from when to when (Unix ms) hooks told of a session, None where all of it was imported."""
    sql = "SELECT min(at), max(at) FROM observations WHERE session = ? AND instr(id, ?) = 0"
    first, last = db.execute(sql, (session_id, PAST)).fetchone()
    return None if first is None else (first, last)


def any_between(db: sqlite3.Connection, session_id: str, kinds: Sequence[str], after: int, until: int) -> bool:
    """Tell whether the session has an observation of these kinds after one time and up to another (Unix ms)."""
    marks = ",".join("?" * len(kinds))
    sql = f"SELECT 1 FROM observations WHERE session = ? AND kind IN ({marks}) AND at > ? AND at <= ? LIMIT 1"
    return db.execute(sql, (session_id, *kinds, after, until)).fetchone() is not None


def goes_on(db: sqlite3.Connection, session_id: str, since: int) -> int | None:
    """Return the time (Unix ms) of the first sign, at or after `since`, that somebody works in the session.

    That is a real user prompt. Where no prompt of any kind is told of (agents and modes without an event for it, or
    without its words), it is a tool call or the end of a turn: neither comes without a prompt.
    """
    sql = "SELECT min(at) FROM observations WHERE session = ? AND at >= ?"
    prompt: int | None = db.execute(f"{sql} AND real = 1", (session_id, since)).fetchone()[0]
    told = "SELECT 1 FROM observations WHERE session = ? AND kind = 'user-prompt' AND text <> '' LIMIT 1"
    if prompt is not None or db.execute(told, (session_id,)).fetchone() is not None:
        return prompt
    marks = ",".join("?" * len(_WORK))
    worked: int | None = db.execute(f"{sql} AND kind IN ({marks})", (session_id, since, *_WORK)).fetchone()[0]
    return worked


# --- what was not stored, offers, journal files


def put_unstored(db: sqlite3.Connection, event_id: str, why: str, project_id: str) -> None:
    """Count an event that was not stored: duplicates, filtered or set_aside."""
    db.execute(
        "INSERT OR REPLACE INTO unstored (id, why, project) SELECT ?, ?, ?"
        " WHERE NOT EXISTS (SELECT 1 FROM observations WHERE id = ? UNION ALL SELECT 1 FROM offers WHERE id = ?)",
        (event_id, why, project_id, event_id, event_id),
    )


def put_unstored_sums(db: sqlite3.Connection, counts: Mapping[tuple[str, str], int]) -> None:
    """Count events that were not stored, by reason and project, in place of all that was counted so far."""
    db.execute("DELETE FROM unstored")
    for key in metas(db, SUMS):
        drop_meta(db, SUMS + key)
    for (why, project_id), count in counts.items():
        set_meta(db, f"{SUMS}{why}:{project_id}", str(count))


def unstored_ids(db: sqlite3.Connection) -> set[str]:
    """Return the ids of the events that were not stored, but for those that were summed up."""
    return {row["id"] for row in db.execute("SELECT id FROM unstored")}


def is_aside(db: sqlite3.Connection, event_id: str) -> bool:
    """Tell whether an event is already noted as set aside."""
    sql = "SELECT 1 FROM unstored WHERE id = ? AND why = 'set_aside'"
    return db.execute(sql, (event_id,)).fetchone() is not None


def put_offer(db: sqlite3.Connection, event_id: str, session_id: str, handoff: str, at: int) -> None:
    """Note that a session was shown a handoff."""
    db.execute(
        "INSERT OR IGNORE INTO offers (id, session, handoff, at) VALUES (?, ?, ?, ?)",
        (event_id, session_id, handoff, at),
    )
    db.execute("DELETE FROM unstored WHERE id = ?", (event_id,))  # it was set aside once


def offers(db: sqlite3.Connection, session_id: str) -> list[tuple[str, int]]:
    """Return (handoff, Unix ms) that the session was shown."""
    rows = db.execute("SELECT handoff, at FROM offers WHERE session = ? ORDER BY at", (session_id,))
    return [(row["handoff"], row["at"]) for row in rows]


def offered(db: sqlite3.Connection, handoff: str) -> bool:
    """Tell whether any session was shown the handoff."""
    return db.execute("SELECT 1 FROM offers WHERE handoff = ?", (handoff,)).fetchone() is not None


def set_file_size(db: sqlite3.Connection, name: str, size: int) -> None:
    """Note up to which byte a journal file is indexed."""
    db.execute("INSERT OR REPLACE INTO files (name, size) VALUES (?, ?)", (name, size))
    db.execute("DELETE FROM files WHERE name = ?", (f"{name}{PACKED}",))  # it was unpacked, if it ever was compressed


def file_sizes(db: sqlite3.Connection) -> dict[str, int]:
    """Return up to which byte each journal file is indexed."""
    return {row["name"]: row["size"] for row in db.execute("SELECT name, size FROM files")}


# --- pages and handoffs


def put_page(db: sqlite3.Connection, page: Page, mtime: int, size: int, links: Sequence[str]) -> None:
    """Store a page, its passages and its links, replacing what was at its path."""
    drop_page(db, page.project, page.path)
    number = db.execute(
        "INSERT INTO pages (project, path, id, kind, status, pinned, updated, mtime, size, title, record)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            page.project,
            page.path,
            page.id,
            page.kind,
            page.status,
            int(page.pinned),
            millis(page.updated),
            mtime,
            size,
            page.title,
            page.model_dump_json(exclude={"body"}),
        ),
    ).lastrowid
    if page.kind != "index":  # a list of the other pages' titles answers nothing
        _put_passages(db, page, int(number or 0))
    db.executemany(
        "INSERT OR IGNORE INTO links (project, source, target) VALUES (?, ?, ?)",
        [(page.project, page.path, target) for target in links],
    )
    facts.put(db, page, links)


def _put_passages(db: sqlite3.Connection, page: Page, number: int) -> None:
    title = terms(page.title)
    heard = spellings(f"{page.title}\n{page.body}")
    scope = _scope(page.project, page.kind, page.agent)
    told = []
    for place, text in enumerate(passages(page.body)):
        body = terms(text)
        beside = terms(f"{' '.join(page.tags)} {page.path}") if place == 0 else []  # found by, not shown
        told.append(
            (
                number << PASSAGE_BITS | place,
                page.project,
                text,
                " ".join([*title, *last_characters(page.title)]),
                " ".join([*body, *last_characters(text), *beside]),
                len(body),
                scope,
            )
        )
    db.executemany(
        "INSERT INTO passages (rowid, project, text, title, body, length, scope) VALUES (?, ?, ?, ?, ?, ?, ?)", told
    )
    learn(db, heard)


def drop_page(db: sqlite3.Connection, project_id: str, path: str) -> None:
    """Forget a page that is no longer on disk."""
    for row in db.execute("SELECT rowid FROM pages WHERE project = ? AND path = ?", (project_id, path)).fetchall():
        first = row["rowid"] << PASSAGE_BITS
        db.execute("DELETE FROM passages WHERE rowid >= ? AND rowid < ?", (first, first + (1 << PASSAGE_BITS)))
        db.execute("DELETE FROM pages WHERE rowid = ?", (row["rowid"],))
    db.execute("DELETE FROM links WHERE project = ? AND source = ?", (project_id, path))
    facts.drop(db, project_id, path)


def set_page_stamp(db: sqlite3.Connection, project_id: str, path: str, mtime: int, size: int) -> None:
    """Note that a page is indexed as its file is at this time and size."""
    db.execute("UPDATE pages SET mtime = ?, size = ? WHERE project = ? AND path = ?", (mtime, size, project_id, path))


def page_stamps(db: sqlite3.Connection, project_id: str) -> dict[str, tuple[int, int]]:
    """Return path -> (mtime in ns, size) of the project's indexed pages."""
    rows = db.execute("SELECT path, mtime, size FROM pages WHERE project = ?", (project_id,))
    return {row["path"]: (row["mtime"], row["size"]) for row in rows}


def owner(db: sqlite3.Connection, page_id: str) -> tuple[str, str] | None:
    """Return (project, path) of the page with this id; of a session that has it, without a page, the path is ''."""
    sql = "SELECT project, path FROM pages WHERE id = ? UNION ALL SELECT project, '' FROM sessions WHERE id = ?"
    row = db.execute(sql, (page_id, page_id)).fetchone()
    return (row[0], row[1]) if row else None


def find_pages(db: sqlite3.Connection, ref: str, project_id: str) -> list[tuple[str, str]]:
    """Return (project, path) of a project's pages whose path, id, file name or title is `ref`; best match first."""
    return [(project_id, path) for path in facts.named(db, project_id, ref)]


def path_of_id(db: sqlite3.Connection, page_id: str, project_id: str) -> str:
    """Return where the project's page with this id is, '' when there is none."""
    row = db.execute("SELECT path FROM pages WHERE id = ? AND project = ? LIMIT 1", (page_id, project_id)).fetchone()
    return str(row["path"]) if row else ""


def recent_pages(
    db: sqlite3.Connection, project_ids: Sequence[str], kinds: Sequence[str], limit: int
) -> list[tuple[str, str]]:
    """Return (project, path) of the pages changed last: of these kinds, one short walk of the index for each."""
    named: list[tuple[str, tuple[str, ...]]] = [("AND kind = ?", (kind,)) for kind in kinds]
    wanted = named or [("AND kind NOT IN ('project', 'index', 'lint')", ())]
    found = [
        (-row["updated"], row["path"], project_id)
        for project_id in project_ids
        for condition, args in wanted
        for row in db.execute(
            f"SELECT path, updated FROM pages WHERE project = ? AND status = 'current' {condition}"
            " ORDER BY updated DESC, path LIMIT ?",
            (project_id, *args, limit),
        )
    ]
    return [(project_id, path) for _, path, project_id in sorted(found)[:limit]]


def page_record(db: sqlite3.Connection, project_id: str, path: str) -> Page | None:
    """Return an indexed page without its body."""
    row = db.execute("SELECT record FROM pages WHERE project = ? AND path = ?", (project_id, path)).fetchone()
    return page_of(row["record"]) if row else None


def page_of(record: str) -> Page:
    """Return the page that a record is of, without its body."""
    return Page.model_validate_json(record[:-1] + ',"body":""}')


def linked_pages(db: sqlite3.Connection, project_id: str, path: str) -> list[str]:
    """Return the paths of the pages that a page links to."""
    found = db.execute("SELECT target FROM links WHERE project = ? AND source = ? LIMIT 50", (project_id, path))
    targets = [facts.resolve(db, project_id, row["target"], path) for row in found.fetchall()]
    return list(dict.fromkeys(target for target in targets if target))


def put_handoff(db: sqlite3.Connection, handoff: Handoff) -> None:
    """Store a handoff."""
    db.execute(
        "INSERT OR REPLACE INTO handoffs (id, project, state, session, automatic, created, record)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            handoff.id,
            handoff.project,
            handoff.state,
            handoff.from_session,
            int(handoff.automatic),
            millis(handoff.created),
            handoff.model_dump_json(),
        ),
    )


def drop_handoff(db: sqlite3.Connection, handoff_id: str) -> None:
    """Forget a handoff whose page is gone."""
    db.execute("DELETE FROM handoffs WHERE id = ?", (handoff_id,))


def handoffs(db: sqlite3.Connection, project_id: str = "", session_id: str = "") -> list[Handoff]:
    """Return handoffs of a project, a session or all, newest first."""
    rows = db.execute(
        "SELECT record FROM handoffs WHERE (project = ? OR ? = '') AND (session = ? OR ? = '')"
        " ORDER BY created DESC, id",
        (project_id, project_id, session_id, session_id),
    )
    return [Handoff.model_validate_json(row["record"]) for row in rows]


# --- what readers made of it


def observation_title(db: sqlite3.Connection, project_id: str, ref: str) -> str | None:
    """Return the title of a project's observation with this id."""
    row = db.execute("SELECT title FROM observations WHERE id = ? AND project = ?", (ref, project_id)).fetchone()
    return row["title"] if row else None


def put_feedback(db: sqlite3.Connection, project_id: str, told: Feedback) -> None:
    """Store a verdict in place of an earlier one of the same session (where none is known: agent) about the same."""
    db.execute(
        "INSERT OR REPLACE INTO feedback (target, by, project, verdict, at, record) VALUES (?, ?, ?, ?, ?, ?)",
        (
            told.target,
            f"{told.agent} {told.session}",
            project_id,
            told.verdict,
            millis(told.at),
            told.model_dump_json(),
        ),
    )


def standing(db: sqlite3.Connection, ids: Sequence[str]) -> list[Feedback]:
    """Return the verdicts on pages and observations, newest first; "stale" and "wrong" end when the page is changed."""
    found = db.execute(
        f"SELECT record FROM feedback f WHERE target IN ({','.join('?' * len(ids))}) AND (verdict = 'helpful' OR"
        " NOT EXISTS (SELECT 1 FROM pages p WHERE p.id = f.target AND (p.updated > f.at OR"
        " EXISTS (SELECT 1 FROM revisions r JOIN commits c ON c.number = r.number"
        " WHERE r.project = p.project AND r.path = p.path AND c.at > f.at)))) ORDER BY at DESC, by",
        tuple(ids),
    )
    return [Feedback.model_validate_json(row["record"]) for row in found]


def feedback(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Return how many found each of these pages and observations helpful, stale and wrong; no entry for no verdict."""
    found: dict[str, list[int]] = {}
    for one in standing(db, ids):
        found.setdefault(one.target, [0, 0, 0])[VERDICTS.index(one.verdict)] += 1
    return {target: (helpful, stale, wrong) for target, (helpful, stale, wrong) in found.items()}


def put_uses(db: sqlite3.Connection, project_id: str, uses: Mapping[str, tuple[int, int]]) -> None:
    """Store how often and when last (Unix ms) each page of a project was opened, in place of what was known."""
    db.execute("DELETE FROM uses WHERE project = ?", (project_id,))
    db.executemany(
        "INSERT OR REPLACE INTO uses (id, project, count, last) VALUES (?, ?, ?, ?)",
        [(page, project_id, count, last) for page, (count, last) in uses.items()],
    )


def uses(db: sqlite3.Connection, ids: Sequence[str]) -> dict[str, tuple[int, datetime]]:
    """Return how often and when last each of these pages was opened, as of the last ingest; no entry for never."""
    found = db.execute(
        "SELECT id, sum(count) AS times, max(last) AS at FROM uses"
        f" WHERE id IN ({','.join('?' * len(ids))}) GROUP BY id",
        tuple(ids),
    )
    return {row["id"]: (row["times"], datetime.fromtimestamp(row["at"] / 1000, timezone.utc)) for row in found}


def within(projects: Collection[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return what a condition ends with that is to hold of these projects only (of all: None), and its values."""
    if projects is None:
        return "", ()
    return f" AND project IN ({','.join('?' * len(projects))})", tuple(projects)


def counts(db: sqlite3.Connection, projects: Collection[str] | None = None) -> Counts:
    """Count what projects (all: None) hold; generated pages are not counted."""
    which, args = within(projects)

    def count(sql: str) -> int:
        return int(db.execute(sql + which, args).fetchone()[0])

    return Counts(
        pages=count(f"SELECT count(*) FROM pages WHERE {WRITTEN}"),
        sessions=count("SELECT count(*) FROM sessions WHERE 1"),
        observations=count("SELECT coalesce(sum(rows), 0) FROM sizes WHERE of = 'observations'"),
        handoffs=count("SELECT count(*) FROM handoffs WHERE 1"),
    )


def taken_in(db: sqlite3.Connection, projects: Collection[str] | None = None) -> int:
    """Return how many observations there ever were: those that were pruned since, too."""
    which, args = within(projects)
    return int(db.execute(f"SELECT coalesce(sum(observations), 0) FROM sessions WHERE 1{which}", args).fetchone()[0])


def unstored_counts(db: sqlite3.Connection, projects: Collection[str] | None = None) -> dict[str, int]:
    """Count events that were not stored, by reason."""
    which, args = within(projects)
    rows = db.execute(f"SELECT why, count(*) AS n FROM unstored WHERE 1{which} GROUP BY why", args)
    found = Counter({row["why"]: row["n"] for row in rows})
    for key, count in metas(db, SUMS).items():
        why, _, project = key.partition(":")
        if projects is None or project in projects:
            found[why] += int(count)
    return dict(found)
