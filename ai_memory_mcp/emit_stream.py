"""`emit --stream`: the events of a plugin host, one JSON object per line, taken by one process that ends with its host.

The host may die, hang or read no answers, and this process may be killed: a line is answered when it is stored, and
one that is sent again (by the host, to the next process) is stored under the same name, so that it counts once.
"""

import sys
import time

from ai_memory_mcp import emit
from ai_memory_mcp.alive import GONE, agent_pid
from ai_memory_mcp.emit_rare import salvage, start_worker, start_worker_for

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

LONGEST = emit.STDIN_LIMIT  # bytes of one line; of a longer one both ends are kept, as text
MANY = 100  # sessions that are ended with the host; those before are over by what came after
TYPE_CHECKING = False  # known to type checkers by its name; importing typing would double the start
if TYPE_CHECKING:
    from collections.abc import Iterator


class Stream:
    """One plugin host's events. `open` holds the sessions that have not ended: their folder by their id; `unsaid`
    the answers that the host has not taken."""

    def __init__(self, home: str, env: dict[str, str], agent: str) -> None:
        self.home = home
        self.env = env
        self.agent = agent
        self.open: dict[str, str] = {}
        self.unsaid = b""


def stream_events(home: str, env: dict[str, str], agent: str) -> None:
    """Take NDJSON events from a plugin host until EOF. What ends the host must not end this before all is stored."""
    agent_pid()
    heed_signals()
    stream = Stream(home, env, agent or "unknown")
    for line in lines():
        try:
            if line.strip():
                stream_one(stream, line)
        except (OSError, ImportError) as error:  # a full disk, a package that moves: the host sends it to the next one
            emit.complain(home, error)
            return
        reap()
    for session, cwd in stream.open.items():
        emit.store_event(home, env, stream.agent, GONE, {"session_id": session, "cwd": cwd}, "")
    if stream.open:
        start_worker(home, detached=True)


def heed_signals() -> None:
    """Outlive what ends the host and its terminal; when told to end, take what has been sent and no more.

    Nor must a host that reads no answers keep its events waiting: writing them never waits.
    """
    import signal

    for name in ("SIGINT", "SIGHUP"):  # for the whole terminal; the end of the input follows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform != "win32":
        signal.signal(signal.SIGTERM, lambda *_: os.set_blocking(0, False))
        if os.fstat(1).st_mode & 0o170000 in (0o010000, 0o140000):  # pipe or socket; a terminal is not ours alone
            os.set_blocking(1, False)


def lines() -> "Iterator[bytes]":
    """Yield the lines of stdin; of one that is longer than LONGEST both ends."""
    line = bytearray()
    cut = False
    while chunk := some_input():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((line[: emit.EDGE], b"\n...\n", line[emit.EDGE :], end)) if cut else bytes(line + end)
            line.clear()
            cut = False
        line += rest
        if len(line) > LONGEST:
            del line[emit.EDGE : -emit.EDGE]
            cut = True
    yield bytes(line)


def some_input() -> bytes:
    """Read what is there, b"" at the end of the input, or when SIGTERM has said that there shall be no more."""
    try:
        return os.read(0, 1 << 16)
    except OSError:
        return b""


def stream_one(stream: Stream, line: bytes) -> None:
    """Store one line's event and answer it; say the brief of a session start, wake the worker at a session end.

    Raises OSError or ImportError when it could not be stored, but may be another time.
    """
    entry, problem = read_line(line)
    inner, event = entry.get("payload"), emit.text_or_empty(entry.get("event"))
    if not event and "still_open" in entry:
        known = emit.section(entry, "still_open")
        stream.open |= {session: cwd for session, cwd in known.items() if isinstance(cwd, str)}
        return
    payload = inner if isinstance(inner, dict) else entry
    home, env = stream.home, stream.env
    said: list[str] = []
    try:
        spec, kind, cwd, name = emit.store_event(home, env, stream.agent, event, payload, problem, stamp_of(entry))
    except (OSError, ImportError):
        raise
    except Exception as error:  # one bad line must not end the stream, nor come again
        emit.complain(home, error)
        answer(stream, entry.get("seq"), "", said)
        return
    if kind == "session-start":
        give_in_time(stream, entry.get("until"), spec, payload, cwd, name, said)
    answer(stream, entry.get("seq"), kind, said)
    session = emit.text_or_empty(emit.field(spec, payload, "session"))
    if kind in ("session-end", "pre-compact"):
        start_worker_for(kind, home, env)
    if kind == "session-end":
        stream.open.pop(session, None)
    elif session and kind not in ("", "other", "notification"):
        stream.open.pop(session, None)
        stream.open[session] = cwd
        if len(stream.open) > MANY:
            del stream.open[next(iter(stream.open))]


def read_line(line: bytes) -> tuple[dict[str, object], str]:
    """Return a line's object and what is wrong with it: of a broken one what stands before its payload is believed."""
    entry = emit.parse(line)
    if entry is not None:
        return entry, ""
    found, problem = salvage(line)
    if not problem:
        return found, ""
    return {**(emit.parse(line[:1024].partition(b',"payload":')[0] + b"}") or {}), "payload": found}, problem


def stamp_of(entry: dict[str, object]) -> tuple[int, str]:
    """Return when the host sent a line (Unix time in ns, in the order of `seq`) and its own mark, (0, "") untold.

    They name the entry: a line that is sent again because nobody said that it was stored is still the same.
    """
    at, seq, mark = entry.get("at"), entry.get("seq"), emit.text_or_empty(entry.get("mark"))
    if not (isinstance(at, int) and isinstance(seq, int) and mark.isascii() and mark.replace("-", "").isalnum()):
        return 0, ""
    now = at * 1_000_000 + seq % 1_000_000
    return (now, mark[:40]) if 0 < now < time.time_ns() + 10**9 else (0, "")


def give_in_time(
    stream: Stream,
    until: object,
    spec: dict[str, object],
    payload: dict[str, object],
    cwd: str,
    name: str,
    said: list[str],
) -> None:
    """Get the brief of a session start; after `until` (Unix time in ms) nobody hears it, so nothing is offered."""
    from ai_memory_mcp.hookbrief import give_brief

    def tell(words: str) -> None:
        if isinstance(until, int) and time.time() * 1000 > until:
            raise TimeoutError(0, "the brief came too late for", stream.agent)
        said.append(words)

    try:
        give_brief(stream.home, stream.env, spec, payload, cwd, name, tell)
    except Exception as error:  # the event itself is stored
        emit.complain(stream.home, error)


def answer(stream: Stream, seq: object, kind: str, said: list[str]) -> None:
    """Tell the host that its line is stored, with the brief if there is one."""
    told: dict[str, object] = {} if seq is None else {"seq": seq}
    line = "".join(said)
    if line and not (seq is None and line.startswith("{")):
        told["text"] = line
        line = ""
    if (line or told or kind == "session-start") and len(stream.unsaid) < LONGEST:
        stream.unsaid += ((line or emit.encode(told)) + "\n").encode("utf-8", "replace")
    try:
        while stream.unsaid:
            stream.unsaid = stream.unsaid[os.write(1, stream.unsaid) :]
    except BlockingIOError:  # it does not read them; perhaps it will when the next one comes
        return
    except OSError:  # it has gone; what it sent is still to be stored
        stream.unsaid = b""


def reap() -> None:
    """Take leave of workers that have ended, so that none stays a zombie."""
    try:
        while hasattr(os, "WNOHANG") and os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return
