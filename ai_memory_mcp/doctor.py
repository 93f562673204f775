"""What is wrong with this memory, and the one command that mends it. Looks only: doctor changes nothing.

Each check is a function from a `Look` to findings; one that fails is a finding itself, and the others still run.
What is in order is told only where silence would leave a doubt (capture, the index, who holds a lock, each agent).
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from ai_memory_mcp import embed, embedding, figures, formats, llm, llm_queue, sizes, slow, sync
from ai_memory_mcp.agents.launcher import launcher_path, launcher_text
from ai_memory_mcp.agents.spec import all_specs
from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.away import away_since
from ai_memory_mcp.config import api_key, load_config, server_token
from ai_memory_mcp.endpoints import HOOK
from ai_memory_mcp.errors import AiMemoryError, LlmError, ServerError, StorageError
from ai_memory_mcp.files import holder_file
from ai_memory_mcp.index import rows
from ai_memory_mcp.journal import PACKED
from ai_memory_mcp.llm_meter import Meter
from ai_memory_mcp.model import Finding
from ai_memory_mcp.project import identify
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.sizes import readable
from ai_memory_mcp.trying import try_launcher, try_server

WAITS_LONG = 3600  # seconds an event may wait before that is worth a word: any session start or search takes it in
SERVER_WAIT = 5.0  # seconds
HELD_LONG = 120  # seconds a lock may be held: a batch takes about one
ANSWERS = {"consolidate.lock": 3600}  # held while a language model answers, about one session after the other
LITTLE_SPACE = 200 * 2**20  # bytes
MANY_LOGS = 20 * 2**20  # bytes
RECENT = timedelta(hours=24)
INGEST = "ai-memory-mcp ingest"
REINDEX = "ai-memory-mcp reindex"
SETUP = "ai-memory-mcp setup"
TRY_LLM = "ai-memory-mcp doctor --llm"


@dataclass(frozen=True)
class Wiring:
    """How one agent that is on this machine is wired, as plain values (states as in `agents.install.Wired`).

    `trusted` is None where hooks need no approval. Its MCP entry starts `command` with the variables `env` set
    besides, or reaches a server at `url`.
    """

    name: str
    title: str
    mcp: Literal["unsupported", "missing", "wired", "outdated", "broken"]
    hooks: Literal["unsupported", "missing", "wired", "outdated", "broken"]
    trusted: bool | None = None
    errors: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


@dataclass(frozen=True)
class Look:
    """All that a check may look at. `python` is the interpreter that setup would write into the launcher."""

    res: Resources
    wiring: Sequence[Wiring]
    env: Mapping[str, str]
    cwd: str
    python: str
    now: datetime

    @property
    def home(self) -> Path:
        """AI_MEMORY_HOME."""
        return self.res.home


def examine(
    res: Resources,
    wiring: Sequence[Wiring],
    *,
    env: Mapping[str, str],
    cwd: str,
    python: str,
    now: datetime,
) -> list[Finding]:
    """Return what is wrong and what is well, in the order of the checks.

    `wiring` holds the agents found on this machine; `env` is where settings may stand beside config.toml (whose
    errors are a finding: `res` may hold the defaults then). Never raises and changes nothing. The index is read
    whole.
    """
    look = Look(res, wiring, env, cwd, python, now)
    if not res.home.exists():
        nothing = Finding(level="warning", message=f"there is no memory yet at {res.home}", fix=SETUP)
        return [nothing, *_run(check_settings, look), *_run(check_agents, look)]
    return [finding for check in CHECKS for finding in _run(check, look)]


def _run(check: Callable[[Look], Iterator[Finding]], look: Look) -> list[Finding]:
    found: list[Finding] = []
    try:
        found.extend(check(look))
    except (AiMemoryError, OSError) as error:
        found.append(_error(f"{check.__name__.removeprefix('check_').replace('_', ' ')}: {error}"))
    return found


def _ok(message: str) -> Finding:
    return Finding(level="ok", message=message)


def _warning(message: str, fix: str = "") -> Finding:
    return Finding(level="warning", message=message, fix=fix)


def _error(message: str, fix: str = "") -> Finding:
    return Finding(level="error", message=message, fix=fix)


# --- the home and the settings


def check_home(look: Look) -> Iterator[Finding]:
    """The home is a private, writable folder with room left."""
    home = look.home
    if not home.is_dir():
        yield _error(f"{home} is not a folder; nothing can be stored", f"mv {home} {home}.old && {SETUP}")
        return
    mode = home.stat().st_mode & 0o777
    if os.name == "posix" and mode & 0o077:
        yield _warning(f"{home} can be read by others (mode {mode:o})", f"chmod 700 {home}")
    if not os.access(home, os.W_OK | os.X_OK):
        yield _error(f"{home} is not writable; events of agents are lost", f"chmod u+rwx {home}")
    free = shutil.disk_usage(home).free
    if free < LITTLE_SPACE:
        yield _warning(f"only {free // 2**20} MB are free on the disk of {home}; at 0 events are lost", f"df -h {home}")
    formats.version(home)  # a newer one, or a restore in the middle, is an error


def check_disk(look: Look) -> Iterator[Finding]:
    """What takes how much, and by how much it has grown; what can grow is not larger than it should be."""
    parts = sizes.measure(look.home)
    told = sorted(((size, part) for part, size in parts.items() if size), reverse=True)
    if not told:
        return
    known = [*sizes.noted(look.home), sizes.Measured(at=look.now, sizes=parts)]
    grown = [
        f"{readable(more)} more than a {word} ago"
        for word, span in (("day", figures.DAY), ("week", figures.WEEK))
        if (more := sizes.grown(known, span) or 0) > 0
    ]
    whole = ", ".join([f"{readable(sum(parts.values()))} on disk", *grown])
    yield _ok(f"{whole}: {', '.join(f'{part} {readable(size)}' for size, part in told)}")
    if parts["logs"] > MANY_LOGS:
        largest = max((look.home / "logs").iterdir(), key=lambda path: path.stat().st_size)
        yield _warning(f"{look.home / 'logs'} has grown to {readable(parts['logs'])}", f"rm {largest}")
    if parts["journal"] > look.res.config.retention.journal_mb * 10**6:
        yield _warning(f"the journal has grown to {readable(parts['journal'])}", "ai-memory-mcp forget-sweep")


def check_settings(look: Look) -> Iterator[Finding]:
    """config.toml and the project's .ai-memory.toml say what may be captured: both must parse."""
    for read in (lambda: load_config(look.home, look.env), lambda: identify(look.cwd, look.res.user_home)):
        try:
            read()
        except AiMemoryError as error:
            yield _error(str(error))


# --- capture


def check_spool(look: Look) -> Iterator[Finding]:
    """Events do not wait for hours, and none is set aside."""
    oldest = look.res.spool.oldest()
    if oldest is not None:
        told = f"{look.res.spool.pending()} events wait to be taken in, the oldest for {_duration(oldest)}"
        yield _warning(told, INGEST) if oldest > WAITS_LONG else _ok(told)
    reasons = Counter(reason for _, reason in look.res.spool.kept_aside())
    for reason, count in reasons.most_common(3):
        yield _warning(f"{count} set aside: {reason}", f"{INGEST} --retry")
    rest = sum(count for _, count in reasons.most_common()[3:])
    if rest:
        yield _warning(f"{rest} set aside for other reasons, see {look.res.spool.aside}", f"{INGEST} --retry")


def check_server(look: Look) -> Iterator[Finding]:
    """The server that this machine is a client of answers, and takes events from it."""
    url = look.res.config.server.url
    if not url:
        return
    from ai_memory_mcp.link import Link

    since = away_since(look.home)
    try:
        link = Link(url, server_token(look.home, look.res.config, look.env), answer=SERVER_WAIT)
        link.post(HOOK, b'{"events":[]}')
    except ServerError as error:
        away = f", away for {_duration(look.now.timestamp() - since[0])}" if since else ""
        yield _warning(f"{error}{away}", INGEST)
    except AiMemoryError as error:
        yield _error(str(error), f"AI_MEMORY_TOKEN=… {SETUP} --server-url {url}")
    else:
        if since:
            yield _warning(f"the server {url} answers, but took no events when last tried: {since[1]}", INGEST)
        else:
            yield _ok(f"the server {url} answers and takes events")


def check_capture(look: Look) -> Iterator[Finding]:
    """seen = stored + duplicates + filtered + set aside; what is told as set aside lies there."""
    if not look.res.index.ready():
        return
    with look.res.index.read() as db:
        stored, unstored = rows.taken_in(db), rows.unstored_counts(db)
    aside = sum(1 for _ in look.res.spool.kept_aside())
    lost = max(0, unstored.get("set_aside", 0) - aside - look.res.spool.pending())
    told = ", ".join(
        f"{unstored.get(why, 0)} {why.replace('_', ' ')}" for why in ("duplicates", "filtered", "set_aside")
    )
    yield _ok(f"{stored + sum(unstored.values())} events seen = {stored} stored, {told}; {lost} lost")
    if lost:
        yield _warning(f"{lost} of the events set aside are gone from {look.res.spool.aside}; they cannot be retried")


def check_complaints(look: Look) -> Iterator[Finding]:
    """Hooks and the worker have nobody to tell; what went wrong in them stands in the logs."""
    for name, who in (("emit.log", "hooks"), ("errors.log", "commands")):
        path = look.home / "logs" / name
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        lines = [line for line in text.splitlines() if line.strip()]
        recent = sum(1 for line in lines if (at := figures.logged_at(line)) and look.now - at < RECENT)
        if recent:
            times = "once" if recent == 1 else f"{recent} times"
            yield _warning(f"{who} failed {times} in the last 24 hours, last: {lines[-1]}", f"tail {path}")


def check_figures(look: Look) -> Iterator[Finding]:
    """How much comes in, how much of what is there nobody needs, and which calls took long."""
    if not look.res.index.ready():
        return
    found = figures.of(look.res, None, now=look.now, look_only=True)
    day, week, junk = found.day, found.week, found.junk
    yield _ok(
        f"in the last week {week.sessions} sessions, {week.observations} observations in them, {week.pages} pages"
        f" changed; in the last day {day.sessions}, {day.observations} and {day.pages}"
    )
    if junk.pages:
        yield _ok(
            f"{junk.rate:.0%} of {junk.pages} pages are needed by nobody: {junk.never_recalled} never recalled,"
            f" {junk.duplicates} duplicates, {junk.superseded} superseded"
        )
    if found.tokens:
        yield _ok(f"the language model took {found.tokens:,} tokens in the last week")
    if found.slow_calls:
        worst = max(found.slow, key=lambda one: one.seconds)
        told = f"{found.slow_calls} calls took longer than {slow.LONG:.0f} s in the last week"
        yield _ok(f"{told}; of the last ones {worst.what} took {worst.seconds:.1f} s, see {look.home / slow.FILE}")


# --- what is derived, and who works on it


def check_index(look: Look) -> Iterator[Finding]:
    """The index is whole, of this version, and knows what the journal holds."""
    index, journal = look.res.index, look.res.journal
    if not index.path.exists():
        if journal.sizes() or look.res.wiki_folders():
            yield _warning("there is no index; the next command builds it", REINDEX)
        return
    damage = index.damage()
    if damage:
        yield _error(damage, REINDEX)
        return
    if not index.ready():
        yield _warning("the index is not completely built; the next command does it", REINDEX)
        return
    with index.read() as db:
        known, counts = rows.file_sizes(db), rows.counts(db)
    sizes = journal.sizes()
    behind = [name for name, size in sizes.items() if size > known.get(name, 0)]
    here = {name.removesuffix(PACKED) for name in sizes}
    short = [name for name, size in known.items() if _is_short(name, size, sizes, here)]
    if behind:
        yield _warning(f"the index lacks a part of {len(behind)} journal files, first {behind[0]}", REINDEX)
    if short:
        yield _error(f"{len(short)} journal files are gone or cut short, first {journal.folder / short[0]}", REINDEX)
    if not behind and not short:
        yield _ok(f"the index is whole: {counts.pages} pages, {counts.observations} observations")


def _is_short(name: str, size: int, sizes: Mapping[str, int], here: Container[str]) -> bool:
    """Tell whether a journal file lost something; one that was compressed or unpacked since has its other name."""
    if name not in sizes:
        return name.removesuffix(PACKED) not in here
    return sizes[name] < size


def check_locks(look: Look) -> Iterator[Finding]:
    """Nobody died or hangs holding a lock."""
    locks = look.home / "locks"
    for lock in sorted(locks.glob("*.lock")):
        path = holder_file(lock)
        try:
            pid, since = int(path.read_text(encoding="ascii")), path.stat().st_mtime
        except (FileNotFoundError, ValueError):
            continue
        held = look.now.timestamp() - since
        told = f"process {pid} has held {lock.name} for {_duration(held)}"
        if not process_lives(pid):
            yield _warning(f"process {pid} died holding {lock.name}; the next holder cleans up after it", INGEST)
        elif held > ANSWERS.get(lock.name, HELD_LONG):
            yield _warning(f"{told}; end it if it hangs", f"kill {pid}")
        else:
            yield _ok(told)


_UNFINISHED = {"MERGE_HEAD": "merge", "rebase-merge": "rebase", "rebase-apply": "rebase", "CHERRY_PICK_HEAD": "pick"}


def check_wikis(look: Look) -> Iterator[Finding]:
    """Each wiki's repository can be read and committed to; nothing in it waits to be committed."""
    ready = look.res.index.ready()
    for workspace, project in look.res.wiki_folders():
        wiki = look.res.wiki_at(workspace, project)
        git = wiki.folder / ".git"
        try:
            wiki.log(limit=1)
        except StorageError as error:
            yield _error(str(error), f"git -C {wiki.folder} fsck")
            continue
        unfinished = next((word for name, word in _UNFINISHED.items() if (git / name).exists()), "")
        if unfinished:
            yield _error(
                f"a {unfinished} is unfinished in {wiki.folder}; pages cannot be saved", f"git -C {wiki.folder} status"
            )
        elif git.exists() and not (git / "HEAD").read_text(encoding="utf-8").startswith("ref: "):
            yield _error(
                f"no branch is checked out in {wiki.folder}; pages cannot be saved",
                f"git -C {wiki.folder} checkout main",
            )
        elif ready:
            with look.res.index.read() as db:
                seen = wiki.scan(rows.page_stamps(db, project))
            edited = wiki.uncommitted([*seen.changed, *seen.added])
            if edited:
                yield _ok(f"{len(edited)} pages in {wiki.folder} were edited by hand; the next search commits them")


def check_sync(look: Look) -> Iterator[Finding]:
    """What was synced last, what went wrong, and which pages two machines have changed."""
    if not look.res.index.ready():
        return
    with look.res.index.read() as db:
        known = rows.projects(db)
    for project in known:
        found = sync.status(look.res, project)
        if found is None:
            continue
        name = f"{project.workspace}/{project.name}"
        command = f"ai-memory-mcp sync --project {project.name} --workspace {project.workspace}"
        if found.error:
            yield _warning(f"{name} could not be synced: {found.error}", command)
        elif found.last:
            yield _ok(f"{name} was synced {_duration((look.now - found.last).total_seconds())} ago with {found.remote}")
        for path in found.in_conflict:
            page = look.res.wiki(project).folder / path
            yield _warning(f"{name}: {path} was changed in two places; both versions are in it", f"edit {page}")


# --- the language model


class Word(BaseModel):
    """What the model is asked for to see that it answers."""

    word: str = Field(default="", description="The word ok.")


def check_llm(look: Look) -> Iterator[Finding]:
    """Where a language model is set up: whether it could be asked. Contacts nobody."""
    config = look.res.config.llm
    if not config.provider:
        return
    problem = llm.fault(config, api_key(config, look.env))
    meter = Meter(look.home)
    if problem:
        fix = llm.installing() if problem.kind == "missing" else ""
        yield _warning(f"sessions keep their pages by rule: {problem}", fix)
    elif paused := meter.paused(look.now):
        yield _warning(paused, TRY_LLM)
    else:
        spent = f"{meter.spent(look.now):,} of {config.daily_tokens:,} tokens spent today"
        yield _ok(f"{config.model} at {llm.address(config)} is set up; {spent}")
    waiting = llm_queue.Queue(look.home).every()
    given_up = [one for one in waiting if one.given_up]
    if given_up:
        told = f"{len(given_up)} sessions keep their pages by rule; the last failure: {given_up[-1].error}"
        yield _warning(told, f"ai-memory-mcp consolidate {given_up[-1].session[:8]}")
    if len(waiting) > len(given_up):
        yield _ok(f"{len(waiting) - len(given_up)} sessions wait for the language model")


def check_embedding(look: Look) -> Iterator[Finding]:
    """Where an embedding model is set up: whether search goes by meaning, and why not. Contacts nobody."""
    config = look.res.config.embedding
    if not config.provider:
        return
    door = embedding.Embedder(config, api_key(config, look.env), look.home)
    found = embed.status(look.res, door, now=look.now)
    if found.problem:
        yield _warning(f"search goes by words alone: {found.problem}", "" if door.fault() else embed.COMMAND)
        return
    waiting = f", {found.waiting:,} wait" if found.waiting else ""
    yield _ok(
        f"{config.model} at {found.address} has embedded {found.embedded:,} passages and observations{waiting};"
        f" {found.spent:,} of {found.daily_tokens:,} tokens spent today"
    )


def try_embedding(res: Resources, env: Mapping[str, str]) -> Finding:
    """Have the embedding model read one word, and say what came back."""
    config = res.config.embedding
    try:
        door = embedding.Embedder(config, api_key(config, env), res.home, asked=True, pauses=())
        begun = time.monotonic()
        vector = door.embed(["ok"])[0]
    except AiMemoryError as error:
        return _error(str(error))
    took = time.monotonic() - begun
    return _ok(f"{config.model} at {embedding.address(config)} answers with {len(vector):,} numbers in {took:.1f} s")


def try_llm(res: Resources, env: Mapping[str, str], child: llm.Child) -> Finding:
    """Ask the language model for one word, and say what came back."""
    config = res.config.llm
    system = 'Answer with this JSON object and nothing else: {"word": "ok"}'
    try:
        door = llm.Llm(config, api_key(config, env), res.home, child, asked=True, pauses=())
        answer, reply = door.ask_for_reply("doctor", system, "Are you there?", Word, max_tokens=200)
    except AiMemoryError as error:
        fix = llm.installing() if isinstance(error, LlmError) and error.kind == "missing" else ""
        return _error(str(error), fix)
    cost = f"{reply.input} tokens in, {reply.output} out"
    said = " ".join(answer.word.split())[:40]
    return _ok(
        f"{reply.model or config.model} at {llm.address(config)} says '{said}' in {reply.seconds:.1f} s ({cost})"
    )


# --- the agents


def check_launcher(look: Look) -> Iterator[Finding]:
    """The launcher that hooks run is there, is what setup would write, and stores an event (in a throw-away home)."""
    path = launcher_path(look.home)
    hooked = [one.title for one in look.wiring if one.hooks in ("wired", "outdated")]
    if not path.exists():
        if hooked:
            yield _error(f"{path} is missing; the hooks of {', '.join(hooked)} store nothing", SETUP)
        return
    failure = try_launcher(path)
    if failure:
        yield _error(f"hooks store nothing: {failure}", SETUP)
    elif path.read_text(encoding="utf-8", errors="replace") != launcher_text(look.home, look.python):
        yield _warning(f"{path} starts another installation than this one ({look.python})", SETUP)


def check_agents(look: Look) -> Iterator[Finding]:
    """Every agent found here is wired, its hooks are approved, and events of it arrive."""
    if not look.wiring:
        yield _warning("no supported agent was found on this machine", "ai-memory-mcp agents")
    last, tried = _last_events(look), dict[tuple[str, ...], str]()
    for one in look.wiring:
        faults = [*_faults(one), *_server_faults(one, look, tried)]
        yield from faults
        if not faults:
            yield _ok(f"{one.title}: {_standing(one, last.get(one.name), look.now)}")
        elif one.hooks in ("wired", "outdated"):
            yield _ok(f"{one.title}: {_ago(last.get(one.name), look.now)}")


def _faults(one: Wiring) -> Iterator[Finding]:
    setup = f"{SETUP} --agent {one.name}"
    for error in one.errors:
        yield _error(f"{one.title}: {error}", f"mend the file there, then {setup}")
    states = {"MCP server": one.mcp, "hooks": one.hooks}
    for state, words in (("missing", "not wired"), ("outdated", "wired in an older form")):
        parts = [part for part, has in states.items() if has == state]
        if parts:
            yield _warning(f"{one.title}: {' and '.join(parts)} {words}", setup)
    if one.trusted is False:
        yield _warning(f"{one.title} skips our hooks until they are approved", f"{SETUP} --trust-codex-hooks")


def _server_faults(one: Wiring, look: Look, tried: dict[tuple[str, ...], str]) -> Iterator[Finding]:
    """Whether the MCP server that this agent starts works; the same command is `tried` once for all agents."""
    if not one.command or one.mcp not in ("wired", "outdated"):
        return
    key = (*one.command, *(f"{name}={value}" for name, value in sorted(one.env.items())))
    if key not in tried:
        tried[key] = try_server(one.command, {**_agents_environment(look.env), **one.env})
    if tried[key]:
        told = f"{one.title}: its MCP server {' '.join(one.command)} {tried[key]}"
        yield _error(told, f"{SETUP} --agent {one.name}")


def _agents_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment an agent would have: without our settings, and without the session that doctor may run in."""
    sessions = {name for spec in all_specs().values() for name in (spec.session.server_env, spec.session.root_env)}
    return {name: value for name, value in env.items() if name not in sessions and not name.startswith("AI_MEMORY_")}


def _standing(one: Wiring, last: datetime | None, now: datetime) -> str:
    """How an agent without faults stands: what is wired, what it cannot have, and when it was last heard of."""
    mcp = f"MCP is wired to {one.url}" if one.url else "MCP is wired"
    if one.hooks == "unsupported":
        return f"{mcp}; it has no hooks, so what it does is not captured"
    if one.mcp == "unsupported":
        return f"hooks are wired, it has no MCP; {_ago(last, now)}"
    return f"{mcp}, hooks are wired; {_ago(last, now)}" if one.url else f"MCP and hooks are wired; {_ago(last, now)}"


def _last_events(look: Look) -> dict[str, datetime]:
    if not look.res.index.ready():
        return {}
    with look.res.index.read() as db:
        return rows.last_events(db)


def _ago(last: datetime | None, now: datetime) -> str:
    return f"its last event came {_duration((now - last).total_seconds())} ago" if last else "no event came yet"


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} seconds"


CHECKS: tuple[Callable[[Look], Iterator[Finding]], ...] = (
    check_home,
    check_disk,
    check_settings,
    check_spool,
    check_server,
    check_capture,
    check_complaints,
    check_figures,
    check_index,
    check_locks,
    check_wikis,
    check_sync,
    check_llm,
    check_embedding,
    check_launcher,
    check_agents,
)
