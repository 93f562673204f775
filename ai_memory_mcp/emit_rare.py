"""What `emit` does seldom: other ways of calling it, odd input, redaction, the worker, the log.

Kept out of `emit` because merely loading it would cost every event a hundredth of the interpreter's start.
"""

import sys
import time

from ai_memory_mcp import emit
from ai_memory_mcp.alive import GONE, agent_pid
from ai_memory_mcp.place import exists

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

USAGE = """\
usage: ai-memory-mcp emit AGENT EVENT  (or --agent AGENT --event EVENT, or --agent AGENT --stream)

Stores one event of an agent's hook: its JSON on standard input, always exit code 0. At a session start it prints
the brief. With --stream it takes one JSON object per line until the end of its input, which also ends the sessions
that are still open: {"event": "...", "payload": {...}}. A session start is answered by one line, {} when there is
nothing to say, {"text": "..."} else. A line that has a "seq" is answered by one with the same "seq" when it is stored.
What went wrong stands in logs/emit.log.
"""
LOG_LIMIT = 1_000_000  # bytes; then the log starts anew, with the old one kept beside it
DEPTH = 50  # levels of an event kept as structure (the reader of the spool takes 200); deeper ones become text
STREAM_LINE = emit.STDIN_LIMIT  # bytes of one line of a stream; a longer one is taken in pieces, as text


def run(home: str, env: dict[str, str], argv: list[str]) -> None:
    """Run `emit` as people and plugin hosts call it."""
    if "--help" in argv or "-h" in argv:
        os.write(1, USAGE.encode())
        return
    agent, event, stream = arguments(argv)
    if not home:
        emit.read_stdin()
    elif stream:
        stream_events(home, env, agent)
    else:
        emit.handle(home, env, agent or "unknown", event, emit.read_stdin())


def arguments(argv: list[str]) -> tuple[str, str, bool]:
    """Read `AGENT EVENT`, `--agent A --event E`, `--agent=A`, `--stream`; unknown words are left alone."""
    named = {"agent": "", "event": ""}
    plain: list[str] = []
    stream = False
    words = iter(argv)
    for word in words:
        if word == "--stream":
            stream = True
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in named:
                named[name] = value if equals else next(words, "")
        else:
            plain.append(word)
    for name in named:
        if not named[name] and plain:
            named[name] = plain.pop(0)
    return named["agent"], named["event"], stream


class Stream:
    """One plugin host's events. `open` holds the sessions that have not ended: their folder by their id."""

    def __init__(self, home: str, env: dict[str, str], agent: str) -> None:
        self.home = home
        self.env = env
        self.agent = agent
        self.open: dict[str, str] = {}


def stream_events(home: str, env: dict[str, str], agent: str) -> None:
    """Take NDJSON events from a plugin host until EOF. What ends the host must not end this before all is stored."""
    import signal

    for name in ("SIGINT", "SIGHUP"):  # for the whole terminal; the end of the input follows
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    agent_pid()
    stream = Stream(home, env, agent or "unknown")
    with open(0, "rb", closefd=False) as lines:
        while line := lines.readline(STREAM_LINE):
            try:
                if line.strip():
                    stream_one(stream, line)
            except Exception as error:  # one bad line must not end the stream
                emit.complain(home, error)
            reap()
    for session, cwd in stream.open.items():
        emit.store_event(home, env, stream.agent, GONE, {"session_id": session, "cwd": cwd}, "")
    if stream.open:
        start_worker(home, detached=True)


def stream_one(stream: Stream, line: bytes) -> None:
    """Store one line's event and answer it; say the brief of a session start, wake the worker at a session end."""
    entry = emit.parse(line)
    problem = ""
    if entry is None:
        entry, problem = salvage(line)
    inner, event = entry.get("payload"), emit.text_or_empty(entry.get("event"))
    payload = inner if isinstance(inner, dict) else entry
    home, env = stream.home, stream.env
    spec, kind, cwd, name = emit.store_event(home, env, stream.agent, event, payload, problem)
    said: list[str] = []
    try:
        if kind == "session-start":
            from ai_memory_mcp.hookbrief import give_brief

            give_brief(home, env, spec, payload, cwd, name, said.append)
    finally:
        answer(entry.get("seq"), kind, said)
    session = emit.text_or_empty(emit.field(spec, payload, "session"))
    if kind == "session-end":
        stream.open.pop(session, None)
        start_worker(home, detached=True)
    elif session and kind not in ("", "other", "notification"):
        stream.open[session] = cwd


def answer(seq: object, kind: str, said: list[str]) -> None:
    """Tell the host that its line is stored, with the brief if there is one; a host that has gone hears nothing."""
    from ai_memory_mcp.hookbrief import say

    told: dict[str, object] = {} if seq is None else {"seq": seq}
    line = "".join(said)
    if line and not (seq is None and line.startswith("{")):
        told["text"] = line
        line = ""
    try:
        if line or told or kind == "session-start":
            say(line or emit.encode(told))
    except OSError:
        return


def reap() -> None:
    """Take leave of workers that have ended, so that none stays a zombie."""
    try:
        while hasattr(os, "WNOHANG") and os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def salvage(raw: bytes) -> tuple[dict[str, object], str]:
    """Keep what can be kept of input that is no JSON object: its text, and the fields that find its session.

    Returns (payload, what is wrong with it, '' when it could be read after all).
    """
    text = raw.decode("utf-8", "replace")
    if not text.strip():
        return {}, "the hook's input is empty"
    found = _with_huge_numbers(text)
    if found is not None:
        return found, ""
    found = {"raw": text}
    for name in ("session_id", "cwd", "hook_event_name"):  # early in every agent's payload
        at = text.find('"' + name + '"')
        parts = text[at + len(name) + 2 : at + 4096].split('"', 2) if at >= 0 else []
        if len(parts) == 3 and parts[0].strip() == ":" and "\\" not in parts[1]:
            found[name] = parts[1]
    return found, "the hook's input is not a JSON object"


def _with_huge_numbers(text: str) -> "dict[str, object] | None":
    """Python refuses to read numbers of thousands of digits; those become texts."""
    import json

    try:
        value = json.loads(text, strict=False, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def flattened(payload: dict[str, object]) -> dict[str, object]:
    """Return the payload with everything below DEPTH levels as its JSON text."""
    return {key: _flat(value, DEPTH) for key, value in payload.items()}


def _flat(value: object, levels: int) -> object:
    if not isinstance(value, (dict, list)):
        return value
    if not levels:
        return emit.encode(value)
    if isinstance(value, list):
        return [_flat(item, levels - 1) for item in value]
    return {key: _flat(item, levels - 1) for key, item in value.items()}


def redacted(home: str, payload: dict[str, object], rules: dict[str, object], limit: int) -> object:
    """Return the payload redacted, then clipped. Of the user's patterns those that do not compile are left out."""
    from ai_memory_mcp.errors import ConfigError
    from ai_memory_mcp.redact import Redactor

    extra: list[str] = []
    for pattern in texts(rules.get("patterns")):
        try:
            Redactor(extra=[pattern])
            extra.append(pattern)
        except ConfigError:
            emit.complain(home, "config.toml: a pattern of [redact] is not a regular expression and is left out")
    redactor = Redactor(extra=extra, allow=texts(rules.get("allow")))
    return redactor.value(payload, limit)  # type: ignore[arg-type]  # JSON is invariant


def texts(value: object) -> list[str]:
    """Return the texts of a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def parent(path: str) -> str:
    """Return the folder that holds `path`."""
    return path[: max(path.rfind("/"), path.rfind("\\"), 0)]


def make_folder(path: str) -> None:
    """Make a private folder with its parents."""
    if exists(path):
        return
    if parent(path):
        make_folder(parent(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return


def start_worker(home: str, *, detached: bool = False) -> int:
    """Start `ai-memory-mcp ingest` on its own, in a session of its own, holding nothing that an agent waits for.

    Returns its pid for the caller to wait for; `detached` gives it to init (and returns 0, as on Windows).
    It runs in AI_MEMORY_HOME with nothing of that folder importable.
    """
    root = parent(parent(__file__))
    code = f"import sys; sys.path[:1] = []; sys.path.append({root!r}); from ai_memory_mcp.__main__ import main; main()"
    command = [sys.executable, "-E", "-c", code, "ingest", "--quiet"]
    if sys.platform == "win32":
        import subprocess

        # a console of its own that is never shown: without any, whatever it started would open a window
        subprocess.Popen(
            command,
            cwd=home,
            env={**os.environ, "AI_MEMORY_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return 0
    pid = os.fork()
    if pid:
        if detached:
            os.waitpid(pid, 0)
        return 0 if detached else pid
    try:
        if detached and os.fork():
            os._exit(0)
        os.setsid()
        os.chdir(home)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        held = int(os.environ.get(b"AI_MEMORY_HOLD", b"2"))  # by its end whoever passed it sees that we have ended
        os.closerange(3, held)
        os.closerange(held + 1, 1024)
        os.execve(sys.executable, command, _with_home(home))
    finally:
        os._exit(1)


def _with_home(home: str) -> "dict[bytes, bytes]":
    """Return the environment for the worker, which shall use the same home."""
    env = {bytes(key): bytes(value) for key, value in os.environ.items()}
    return {**env, b"AI_MEMORY_HOME": home.encode("utf-8", "surrogateescape")}


def log(home: str, error: "BaseException | str") -> None:
    """Append one line to logs/emit.log, bounded. Raises OSError.

    Of an error its type and the system's own words only: its message may quote what the agent sent.
    """
    if not home:
        return
    make_folder(home + "/logs")
    path = home + "/logs/emit.log"
    if exists(path) and os.stat(path).st_size > LOG_LIMIT:
        os.replace(path, path + ".1")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    words = error if isinstance(error, str) else type(error).__name__
    if isinstance(error, OSError):
        words += f" {error.strerror}: {error.filename}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, f"{stamp} {words}\n".encode("utf-8", "replace"))
    finally:
        os.close(fd)
