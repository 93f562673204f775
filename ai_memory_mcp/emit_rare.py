"""What `emit` does seldom: other ways of calling it, odd input, redaction, the worker, the log.

Kept out of `emit` because merely loading it would cost every event a hundredth of the interpreter's start.
"""

import sys
import time

from ai_memory_mcp import emit
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
TRANSCRIPT_TAIL = 2**20  # bytes at the end of a transcript that are looked at
TRANSCRIPT_WAIT = 0.5  # seconds for the agent to write its answer there


def run(home: str, env: dict[str, str], argv: list[str]) -> None:
    """Run `emit` as people and plugin hosts call it."""
    if "--help" in argv or "-h" in argv:
        os.write(1, USAGE.encode())
        return
    agent, event, stream = arguments(argv)
    if not home:
        emit.read_stdin()
    elif stream:
        from ai_memory_mcp.emit_stream import stream_events

        stream_events(home, env, agent)
    elif agent:
        emit.handle(home, env, agent, event, emit.read_stdin())
    else:  # some agents also run the hooks of others, and leave a hook's arguments out
        emit.read_stdin()


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


def add_answer(transcript: dict[str, object], payload: dict[str, object]) -> None:
    """Put what the agent answered into the payload, from its own transcript; it may be a moment late there."""
    path = emit.text_or_empty(payload.get(emit.text_or_empty(transcript.get("path"))))
    deadline = time.monotonic() + TRANSCRIPT_WAIT
    answer = ""
    while path:
        lines = transcript_tail(path)
        answer = last_answer(lines, transcript)
        if (answer and not behind(lines, transcript, payload)) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    if answer:
        payload["last_assistant_message"] = answer


def transcript_tail(path: str) -> list[bytes]:
    """Return the last lines of a transcript, the last one first."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, 2) - TRANSCRIPT_TAIL))
            return file.read().splitlines()[::-1]
    except (OSError, ValueError):
        return []


def behind(lines: list[bytes], transcript: dict[str, object], payload: dict[str, object]) -> bool:
    """Tell whether a transcript ends before the event. Told where both have the same kind of time."""
    name = emit.text_or_empty(transcript.get("time"))
    last = emit.parse(lines[0]) if lines else None
    return bool(name and last) and emit.text_or_empty((last or {}).get(name)) < emit.text_or_empty(payload.get(name))


def last_answer(lines: list[bytes], transcript: dict[str, object]) -> str:
    """Return the answer at the end of a transcript, '' while there is none."""
    for line in lines:
        told = emit.parse(line) or {}
        if told.get("type") in texts(transcript.get("asked")):
            break
        if told.get("type") == transcript.get("said"):
            answer = emit.field({"fields": {"text": [transcript.get("text")]}}, told, "text")
            if isinstance(answer, str) and answer.strip():
                return answer
    return ""


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


def start_worker_for(kind: str, home: str, env: dict[str, str]) -> None:
    """Start the worker after an event of this kind: before a compaction only a language model has something to do."""
    if kind == "session-end" or _asks_a_model(home, env):
        start_worker(home, detached=True)


def _asks_a_model(home: str, env: dict[str, str]) -> bool:
    from ai_memory_mcp.hooksettings import user_settings

    return bool(env.get("AI_MEMORY_LLM_PROVIDER") or emit.section(user_settings(home, env), "llm").get("provider"))


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
