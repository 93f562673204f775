"""The hook process: read one event, redact it, put it into the spool, exit 0. Always, and quickly.

Everything here runs on every tool call of every agent, so it imports nothing but built-in modules (`json`, `re`,
`os`, `tomllib` each cost as much as half the interpreter's start). What few events need is imported by those:
`emit_rare` (odd input, streaming, the worker, the log), `hooksettings` (settings files, capture rules), `redact`
(a secret), `hookbrief` (session start). A failure goes to logs/emit.log and never to the agent.
"""

import sys
import time

from ai_memory_mcp.alive import agent_pid
from ai_memory_mcp.place import default_home, drive_path, find_root, path_key, place_key, user_home, working_folder
from ai_memory_mcp.secretglance import may_hold_secret

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

TEXT_LIMIT = 16_384  # characters kept of one text; [capture] max_text in config.toml
STDIN_LIMIT = 32 * 2**20  # bytes read whole; of a longer event the first and last EDGE are kept as text
EDGE = 2**20
DEEPEST = 64  # brackets in an event below which nobody needs to look how deep it is nested

# kinds that are not waited for until they are on the disk: hundreds of tool uses, and a start that says nothing yet
UNHURRIED = ("pre-tool", "post-tool", "session-start")
_PLACES = (b"HOME", b"XDG_DATA_HOME", b"PWD")  # variables

# agent -> (its description's file, mtime in ns, size, marshalled description); the launcher's bundle brings them along
BUNDLED_AGENTS: "dict[str, tuple[str, int, int, bytes]]" = {}


def main(argv: "list[str]") -> int:
    """Run `emit` for an agent's hook: `emit AGENT EVENT`, or with --agent/--event/--stream. Returns 0."""
    env = environment()
    home = ""
    try:
        home = absolute(default_home(env), env)
        agent, event = argv if len(argv) == 2 and argv[0][:1] != "-" else ("", "")
        if not agent:
            from ai_memory_mcp.emit_rare import run

            run(home, env, argv)
        elif home:
            handle(home, env, agent, event, read_stdin())
    except BaseException as error:  # nothing may reach the agent
        complain(home, error)
    return 0


def finish(argv: "list[str]") -> None:
    """Run `main` and end at once: tearing the interpreter down costs more than all of emit's own work."""
    main(argv)
    os._exit(0)


def environment() -> "dict[str, str]":
    """Return the variables that say where things are, and our own, as text (`posix.environ` holds bytes)."""
    if hasattr(os, "path"):  # Windows
        return dict(os.environ)  # type: ignore[arg-type]  # text there
    found: dict[str, str] = {}
    for key, value in os.environ.items():
        if key in _PLACES or key.startswith(b"AI_MEMORY_"):
            found[key.decode("utf-8", "surrogateescape")] = value.decode("utf-8", "surrogateescape")
    return found


def absolute(path: str, env: "dict[str, str]") -> str:
    """Return the path as the other commands understand it: `~` is the user's home, else from the working directory."""
    if path[:1] == "~" and path[1:2] in ("", "/", "\\"):
        path = user_home(env) + path[1:]
    if sys.platform == "win32":
        path = drive_path(path)
    if path and path[0] not in "/\\" and path[1:2] != ":":
        path = working_folder(env) + "/" + path
    return path.rstrip("/")


def read_stdin() -> bytes:
    """Read all of stdin (so that the agent never sees a broken pipe); past STDIN_LIMIT keep both ends."""
    chunks: list[bytes] = []
    size = 0
    tail = b""
    while True:
        try:
            chunk = os.read(0, 1 << 16)
        except OSError:  # closed, or a folder
            chunk = b""
        if not chunk:
            break
        size += len(chunk)
        if size <= STDIN_LIMIT:
            chunks.append(chunk)
        else:
            tail = (tail + chunk)[-EDGE:]
    data = b"".join(chunks)
    return data if size <= STDIN_LIMIT else data[:EDGE] + b"\n...\n" + tail


def handle(home: str, env: "dict[str, str]", agent: str, event: str, raw: bytes) -> None:
    """Store one event; at a session start print the brief, at a session end wake the worker."""
    payload = parse(raw)
    problem = ""
    if payload is None:
        from ai_memory_mcp.emit_rare import salvage

        payload, problem = salvage(raw)
    spec, kind, cwd, entry = store_event(home, env, agent, event, payload, problem)
    said = False

    def tell(words: str) -> None:
        nonlocal said
        say(words)
        said = True

    if kind == "session-start":
        from ai_memory_mcp.hookbrief import give_brief

        give_brief(home, env, spec, payload, cwd, entry, tell)
    elif kind == "user-prompt" and there(late_note(home, agent, field(spec, payload, "session"))):
        from ai_memory_mcp.hookbrief import give_late_brief

        give_late_brief(home, env, spec, payload, cwd, entry, tell, event)
    answer = text_or_empty(spec.get("answer"))
    if answer and not said:
        say(answer)
    if kind in ("session-end", "pre-compact"):
        from ai_memory_mcp.emit_rare import start_worker_for

        start_worker_for(kind, home, env)


def say(words: str) -> None:
    """Write a line to stdout. Raises OSError when the agent has gone away."""
    data = (words + "\n").encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


def late_note(home: str, agent: str, session: object) -> str:
    """Return the file that says that this session's start could not wait for its brief."""
    return f"{home}/brief/late-{path_key(f'{agent} {session}')}"


def store_event(
    home: str,
    env: "dict[str, str]",
    agent: str,
    event: str,
    payload: "dict[str, object]",
    problem: str,
    stamp: "tuple[int, str]" = (0, ""),
) -> "tuple[dict[str, object], str, str, str]":
    """Redact and spool one event. Returns (agent description, kind, cwd, name of the spool entry).

    The kind is "" for an event that is none of ours, and "other" for the start of an agent that runs the hooks of
    another: its own hook asks for the brief. `stamp` (Unix time in ns, mark) names the entry, see `entry_line`.
    """
    spec = agent_description(home, agent)
    told = text_or_empty(payload.get("hook_event_name"))
    foreign = [other for sign, other in section(spec, "foreign").items() if sign in payload]
    if foreign:
        spec, event = agent_description(home, text_or_empty(foreign[0])), told
    agent = text_or_empty(spec.get("name")) or agent  # it may have been called by an alias
    event = event or told or "unknown"
    kind = text_or_empty(section(spec, "events").get(event)) or "other"
    when = section(section(spec, "when"), event)
    if when and not problem and not holds(payload, when):  # of what cannot be read nobody knows that it is none of ours
        return spec, "", "", ""
    if section(spec, "transcript").get("event") == event:
        from ai_memory_mcp.emit_rare import add_answer

        add_answer(section(spec, "transcript"), payload)
    cwd = working_directory(spec, payload, env)
    root, marker = find_root(cwd, user_home(env))
    reason = ""
    settings: dict[str, object] = {}
    if marker or there(home + "/config.toml") or "__" in "".join(env):
        from ai_memory_mcp.hooksettings import rules

        settings, reason = rules(home, env, (cwd, root, marker), spec, kind, payload)
    body = "{}" if reason else clean(home, payload, settings)
    place = ("", "", "") if reason else (cwd, root, marker)
    name, line = entry_line(agent, event, place, body, problem, reason, now=stamp[0], mark=stamp[1])
    put(home, f"{name}-{place_key(*place[1:])}", line, wait=kind not in UNHURRIED)
    return spec, "other" if foreign and kind == "session-start" else kind, cwd, name


def entry_line(
    agent: str,
    event: str,
    place: "tuple[str, str, str]",
    body: str,
    problem: str = "",
    reason: str = "",
    offered: str = "",
    now: int = 0,
    mark: str = "",
) -> "tuple[str, bytes]":
    """Return the name and the line of a new spool entry; `place` is (cwd, root, marker), `body` the payload's JSON,
    `now` Unix time in ns. With a `mark` of the sender's it has the same name whenever it is stored, and counts once."""
    now = now or time.time_ns()
    name = f"{now:020d}-{mark or f'{os.getpid()}-{os.urandom(4).hex()}'}"
    texts = {"agent": agent, "event": event, "cwd": place[0], "root": place[1], "marker": place[2]}
    texts |= {"problem": problem, "filtered": reason, "offered": offered}
    head = f'{{"v":1,"id":"{name}","at":{now // 1_000_000},"pid":{agent_pid()},{encode(texts)[1:-1]},"payload":'
    return name, (head + body + "}\n").encode("utf-8", "replace")


def put(home: str, name: str, data: bytes, wait: bool = True) -> None:
    """Write one spool entry: complete under its final name, or not there at all.

    With `wait` it is on the disk before this returns. Without, it outlives every process, but a machine that goes
    down within seconds may lose it. Waiting costs 0.05 bare starts on an idle disk and 0.4 on a busy one.
    """
    spool = home + "/spool"
    temporary = f"{spool}/.{name}-{os.getpid()}.tmp"  # of its own: who was killed at it left one behind
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        from ai_memory_mcp.emit_rare import make_folder

        make_folder(spool)
        fd = os.open(temporary, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        if wait:
            getattr(os, "fdatasync", os.fsync)(fd)  # macOS and Windows have no fdatasync
        os.close(fd)
        try:
            os.replace(temporary, f"{spool}/{name}.json")
        except PermissionError:
            from ai_memory_mcp.files import replace

            replace(temporary, f"{spool}/{name}.json")
    except OSError:
        os.unlink(temporary)
        raise


def clean(home: str, payload: "dict[str, object]", settings: "dict[str, object]") -> str:
    """Return the payload as JSON, redacted and then clipped. The slow ways are for those who need them."""
    redact = section(settings, "redact")
    limit = section(settings, "capture").get("max_text")
    limit = limit if isinstance(limit, int) and limit > 1 else TEXT_LIMIT
    text = encode(payload)
    if text.count("{") + text.count("[") > DEEPEST:
        from ai_memory_mcp.emit_rare import flattened

        payload = flattened(payload)
        text = encode(payload)
    extra = redact.get("patterns")
    if extra or (may_hold_secret(text) and _holds_secret(text)):
        from ai_memory_mcp.emit_rare import redacted

        return encode(redacted(home, payload, redact, limit))
    if len(text) > limit:
        from ai_memory_mcp.clipping import clip_all

        return encode(clip_all(payload, limit))
    return text


def _holds_secret(text: str) -> bool:
    from ai_memory_mcp.secretscan import may_hold_secret as look_closely

    return look_closely(text)


# --- JSON, by the C parts of the standard library alone: importing `json` nearly doubles the start


def parse(raw: bytes) -> "dict[str, object] | None":
    """Parse a JSON object, None when it is none."""
    text = raw.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    try:
        from _json import make_scanner

        value, end = make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]  # any object with these attributes
    except ImportError:
        import json

        value, end = json.JSONDecoder(strict=False, parse_constant=str).raw_decode(text)
    except (StopIteration, ValueError, RecursionError, SystemError):
        return None  # SystemError: the C scanner takes its own error from `json.decoder`, which is not imported
    return value if isinstance(value, dict) and not text[end:].strip() else None


class _Scanning:
    """What `_json.make_scanner` wants to know: the settings of a json.JSONDecoder."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = str  # NaN becomes a text: it is no JSON
    memo: "dict[str, str]" = {}  # noqa: RUF012  shared on purpose, one parse per process


def encode(value: object) -> str:
    """Return a value as JSON."""
    try:
        from _json import encode_basestring, make_encoder

        encoder = make_encoder(None, str, encode_basestring, None, ":", ",", False, False, True)
        return "".join(encoder(value, 0))
    except (ImportError, TypeError):
        import json

        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# --- the agent's description, and small readers of untyped data


def agent_description(home: str, agent: str) -> "dict[str, object]":
    """Return what emit needs of agent_configs/ (see `hooksettings.described`), {} for an unknown agent."""
    known = BUNDLED_AGENTS.get(agent)
    if known:
        from marshal import loads

        try:
            stat = os.stat(known[0])
            if (stat.st_mtime_ns, stat.st_size) == known[1:3]:
                return loads(known[3])  # type: ignore[no-any-return]  # our own dict
        except OSError:
            pass
    from ai_memory_mcp.hooksettings import find_agent

    return find_agent(home, agent)


def there(path: str) -> bool:
    """Tell whether there is a file, be it unreadable."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:
        return True
    return True


def section(settings: "dict[str, object]", name: str) -> "dict[str, object]":
    """Return a table of a settings file, {} where it is missing or no table."""
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def text_or_empty(value: object) -> str:
    """Return a text or ''."""
    return value if isinstance(value, str) else ""


def holds(payload: "dict[str, object]", wanted: "dict[str, object]") -> bool:
    """Tell whether the payload has these values; "*" stands for any but an empty one, "" for an empty one or none."""
    return all(_is(payload.get(name), value) for name, value in wanted.items())


def _is(told: object, wanted: object) -> bool:
    return bool(told) if wanted == "*" else told == wanted or (wanted == "" and not told)


def field(spec: "dict[str, object]", payload: "dict[str, object]", name: str) -> object:
    """Return a field of the payload by the agent's description (dots go down, first hit wins)."""
    places = section(spec, "fields").get(name)
    for place in places if isinstance(places, list) else [name]:
        value: object = payload
        for part in place.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def working_directory(spec: "dict[str, object]", payload: "dict[str, object]", env: "dict[str, str]") -> str:
    """Return the folder the event speaks of, else where this process runs ('' when that is gone)."""
    told = field(spec, payload, "cwd")
    if isinstance(told, list) and told:
        told = told[0]
    if isinstance(told, str) and told and "\0" not in told:
        return absolute(told, env) or "/"
    return working_folder(env)


def complain(home: str, error: "BaseException | str") -> None:
    """Write one line to logs/emit.log; if even that fails, stay silent."""
    try:
        from ai_memory_mcp.emit_rare import log

        log(home, error)
    except BaseException:  # the log is a courtesy; the agent must see nothing
        return
