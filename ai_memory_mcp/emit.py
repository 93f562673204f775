"""The hook process: read one event, redact it, put it into the spool, exit 0. Always, and quickly.

Everything here runs on every tool call of every agent, so the fast path imports nothing but built-in modules
(`json`, `re`, `os`, `tomllib` each cost as much as half the interpreter's start); they are imported only by
an event that needs them: a secret to redact, a settings file that changed, a session that starts or ends.
A failure goes to logs/emit.log and never to the agent.
"""

import sys
import time

from ai_memory_mcp.place import default_home, exists, find_root, path_key, place_key, real
from ai_memory_mcp.secretscan import may_hold_secret

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

TEXT_LIMIT = 16_384  # characters kept of one text; [capture] max_text in config.toml
STDIN_LIMIT = 32 * 2**20  # bytes read whole; of a longer event the first and last EDGE are kept as text
EDGE = 2**20
BRIEF_WAIT = 1.5  # seconds a session start may wait for unfinished sessions to be compiled
BRIEF_LIMIT = 9_000  # characters; Claude Code and Codex cut at about 10,000, Cursor drops what is longer


def main(argv: "list[str]") -> int:
    """Run `emit` for an agent's hook: `emit AGENT EVENT`, or with --agent/--event/--stream. Returns 0."""
    env = environment()
    home = ""
    try:
        home = default_home(env)
        agent, event, stream = arguments(argv)
        if stream:
            stream_events(home, env, agent)
        else:
            handle(home, env, agent, event, read_stdin())
    except BaseException as error:  # nothing may reach the agent
        complain(home, error)
    return 0


def finish(argv: "list[str]") -> None:
    """Run `main` and end at once: tearing the interpreter down costs more than all of emit's own work."""
    main(argv)
    os._exit(0)


def environment() -> "dict[str, str]":
    """Return the environment as text; `posix.environ` holds bytes."""
    found: dict[str, str] = {}
    for key, value in os.environ.items():
        found[_as_text(key)] = _as_text(value)
    return found


def _as_text(value: "str | bytes") -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def arguments(argv: "list[str]") -> "tuple[str, str, bool]":
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
    plain += ["", ""]
    return named["agent"] or plain[0], named["event"] or plain[1 if not named["agent"] else 0], stream


def read_stdin() -> bytes:
    """Read all of stdin (so that the agent never sees a broken pipe); past STDIN_LIMIT keep both ends."""
    chunks: list[bytes] = []
    size = 0
    tail = b""
    while True:
        chunk = os.read(0, 1 << 20)
        if not chunk:
            break
        size += len(chunk)
        if size <= STDIN_LIMIT:
            chunks.append(chunk)
        else:
            tail = (tail + chunk)[-EDGE:]
    if size <= STDIN_LIMIT:
        return b"".join(chunks)
    return b"".join(chunks)[:EDGE] + b"\n...\n" + tail


def stream_events(home: str, env: "dict[str, str]", agent: str) -> None:
    """Take NDJSON events from a plugin host until EOF: {"event": …, "payload": {…}} per line."""
    with open(0, "rb", closefd=False) as lines:
        for line in lines:
            try:
                entry = parse(line)
                if entry is None:
                    handle(home, env, agent, "", line)
                    continue
                payload = entry.get("payload")
                event = entry.get("event")
                if isinstance(payload, dict) and isinstance(event, str):
                    store_event(home, env, agent, event, payload, "")
                else:
                    store_event(home, env, agent, "", entry, "")
            except Exception as error:  # one bad line must not end the stream
                complain(home, error)


def handle(home: str, env: "dict[str, str]", agent: str, event: str, raw: bytes) -> None:
    """Store one event; at a session start print the brief, at a session end wake the worker."""
    payload = parse(raw)
    problem = ""
    if payload is None:
        problem = "the hook's input is not a JSON object" if raw.strip() else "the hook's input is empty"
        payload = salvage(raw)
    if not event:
        named = payload.get("hook_event_name")
        event = named if isinstance(named, str) else "unknown"
    spec, kind, cwd, entry = store_event(home, env, agent or "unknown", event, payload, problem)
    if kind == "session-start":
        from ai_memory_mcp.hookbrief import give_brief

        give_brief(home, env, spec, payload, cwd, entry)
    elif kind == "session-end":
        start_worker(home, env, [])


def parse(raw: bytes) -> "dict[str, object] | None":
    """Parse a JSON object with the C scanner alone (importing `json` nearly doubles the start)."""
    text = raw.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    try:
        from _json import make_scanner

        value, end = make_scanner(_Scanning)(text, 0)  # type: ignore[arg-type]  # any object with these attributes
    except ImportError:
        import json

        value, end = json.JSONDecoder(strict=False).raw_decode(text)
    except (StopIteration, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and not text[end:].strip() else None


class _Scanning:
    """What `_json.make_scanner` wants to know: the settings of json.JSONDecoder(strict=False)."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: "dict[str, str]" = {}  # noqa: RUF012  shared on purpose, one parse per process


def salvage(raw: bytes) -> "dict[str, object]":
    """Keep what can be kept of input that is no JSON object: both ends of its text."""
    text = raw.decode("utf-8", "replace")
    found: dict[str, object] = {"raw": text}
    for name in ("session_id", "cwd", "hook_event_name"):  # early in every agent's payload
        at = text.find('"' + name + '"')
        parts = text[at + len(name) + 2 : at + 4096].split('"', 2) if at >= 0 else []
        if len(parts) == 3 and parts[0].strip() == ":" and "\\" not in parts[1]:
            found[name] = parts[1]
    return found


def store_event(
    home: str, env: "dict[str, str]", agent: str, event: str, payload: "dict[str, object]", problem: str
) -> "tuple[dict[str, object], str, str, str]":
    """Redact and spool one event. Returns (agent description, kind, cwd, name of the spool entry)."""
    spec = agent_description(home, agent)
    kind = kind_of(spec, event)
    cwd = working_directory(spec, payload, env)
    root, marker = find_root(cwd, env.get("HOME") or env.get("USERPROFILE", ""))
    settings = settings_from(home, home + "/config.toml")
    capture = section(settings, "capture")
    policy = section(settings_from(home, marker), "capture") if marker else {}
    reason = filtered(capture, policy, kind, payload, root)
    body = "{}"
    if not reason:
        body = clean(payload, section(settings, "redact"), number(capture.get("max_text"), TEXT_LIMIT))
    now = time.time_ns()
    name = f"{now:020d}-{os.getpid()}-{os.urandom(4).hex()}"
    line = (
        f'{{"v":1,"id":"{name}","at":{now // 1_000_000},"agent":{quote(agent)},"event":{quote(event)},'
        f'"cwd":{quote(cwd)},"root":{quote(root)},"marker":{quote(marker)},"pid":{os.getppid()},"problem":{quote(problem)},'
        f'"filtered":{quote(reason)},"payload":{body}}}\n'
    )
    put(home, f"{name}-{place_key(root, marker)}", line.encode("utf-8", "replace"))
    return spec, kind, cwd, name


def parent(path: str) -> str:
    """Return the folder that holds `path`."""
    return path[: max(path.rfind("/"), path.rfind("\\"), 0)]


def put(home: str, name: str, data: bytes) -> None:
    """Write one spool entry: complete and synced under its final name, or not there at all."""
    spool = home + "/spool"
    temporary = f"{spool}/.{name}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(temporary, flags, 0o600)
    except FileNotFoundError:
        make_folder(home)
        make_folder(spool)
        fd = os.open(temporary, flags, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        getattr(os, "fdatasync", os.fsync)(fd)
        os.close(fd)
        os.replace(temporary, f"{spool}/{name}.json")
    except OSError:
        os.unlink(temporary)
        raise


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


def clean(payload: "dict[str, object]", redact: "dict[str, object]", limit: int) -> str:
    """Return the payload as JSON, redacted and then clipped. The slow path is for those who need it."""
    text = encode(payload)
    extra = words(redact.get("patterns"))
    if not extra and len(text) <= limit and not may_hold_secret(text):
        return text
    from ai_memory_mcp.redact import Redactor

    redactor = Redactor(extra=extra, allow=words(redact.get("allow")))
    return encode(redactor.value(payload, limit))  # type: ignore[arg-type]  # JSON is invariant


def encode(value: object) -> str:
    """Encode as JSON with the C encoder alone; falls back to `json` where that has other arguments."""
    try:
        from _json import encode_basestring, make_encoder

        encoder = make_encoder(None, str, encode_basestring, None, ":", ",", False, False, True)
        return "".join(encoder(value, 0))
    except (ImportError, TypeError):
        import json

        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def quote(text: str) -> str:
    """Return a JSON string."""
    return encode(text)


# --- settings: TOML files, compiled once to JSON under cache/ and read from there until they change


def settings_from(home: str, path: str) -> "dict[str, object]":
    """Return a TOML file as a dict; {} when there is none; the last good reading when it does not parse now.

    `tomllib` costs 2.8 times a bare start, so the parsed form is kept in cache/, named by path, time and size.
    A file that never parsed gives {"capture": {"broken": true}}: its rules are unknown, so only the kind of an
    event is kept, not its words.
    """
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return {}
    name = f"{home}/cache/{path_key(path)}"
    stamp = f"{stat.st_mtime_ns}-{stat.st_size}"
    cached = read_json(f"{name}-{stamp}.json")
    if cached is not None:
        return cached
    return compile_settings(home, path, name, stamp)


def compile_settings(home: str, path: str, name: str, stamp: str) -> "dict[str, object]":
    """Parse a TOML file and keep it as JSON, beside a copy that outlives a later broken edit."""
    import json

    try:
        toml = read_toml(path)
    except Exception as error:  # any failure to read the rules means that the rules are unknown
        complain(home, error)
        good = read_json(name + "-good.json")
        return good if good is not None else {"capture": {"broken": True}}
    data = json.dumps(toml, default=str).encode()
    try:
        make_folder(home + "/cache")
        for suffix in (f"-{stamp}.json", "-good.json"):
            temporary = f"{name}{suffix}.{os.getpid()}"
            with open(temporary, "wb") as file:
                file.write(data)
            os.replace(temporary, name + suffix)
    except OSError as error:
        complain(home, error)
    return toml


def read_toml(path: str) -> "dict[str, object]":
    """Parse a TOML file; on Python 3.10 with tomli from beside this package."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    with open(path, "rb") as file:
        return tomllib.load(file)


def read_json(path: str) -> "dict[str, object] | None":
    """Read a JSON object of ours, or None."""
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError):
        return None
    try:
        data = b""
        while chunk := os.read(fd, 1 << 20):
            data += chunk
    finally:
        os.close(fd)
    return parse(data)


def agent_description(home: str, agent: str) -> "dict[str, object]":
    """Return what agent_configs/ says of the agent ({} for an unknown one), through the cache."""
    if not agent.replace("-", "").replace("_", "").isalnum():
        return {}
    package = parent(__file__)
    for folder in (package, parent(package)):  # installed, or in a checkout
        found = settings_from(home, f"{folder}/agent_configs/{agent}/agent.toml")
        if found:
            return found
    return {}


# --- small readers of untyped data


def section(settings: "dict[str, object]", name: str) -> "dict[str, object]":
    """Return a table of a settings file, {} where it is missing or no table."""
    value = settings.get(name)
    return value if isinstance(value, dict) else {}


def number(value: object, default: int) -> int:
    """Return a positive whole number or the default."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def words(value: object) -> "list[str]":
    """Return the texts of a list."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def kind_of(spec: "dict[str, object]", event: str) -> str:
    """Return our kind of an agent's event, 'other' when unknown."""
    kind = section(section(spec, "events"), event).get("kind")
    return kind if isinstance(kind, str) else "other"


def field(spec: "dict[str, object]", payload: "dict[str, object]", name: str) -> object:
    """Return a field of the payload by the agent's description (dots go down, first hit wins)."""
    for place in words(section(spec, "fields").get(name)) or [name]:
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
        return told
    try:
        return os.getcwd()
    except OSError:
        return env.get("PWD", "")


# --- capture policy


def filtered(
    capture: "dict[str, object]",
    policy: "dict[str, object]",
    kind: str,
    payload: "dict[str, object]",
    root: str,
) -> str:
    """Say which capture rule drops this event ('' if none). The project's rules and the user's both count."""
    for rules in (capture, policy):
        if not rules:
            continue
        if rules.get("broken"):
            return "settings do not parse"
        if rules.get("enabled") is False:
            return "capture is off"
        if rules.get("prompts") is False and kind == "user-prompt":
            return "prompts are off"
        if rules.get("tools") is False and kind in ("pre-tool", "post-tool", "tool-failure"):
            return "tools are off"
        if rules.get("assistant") is False and kind in ("assistant-message", "stop", "subagent-stop"):
            return "assistant messages are off"
        patterns = words(rules.get("ignore_paths"))
        if patterns and kind != "user-prompt" and touches(payload, patterns, root):
            return "ignored path"
    return ""


def touches(payload: "dict[str, object]", patterns: "list[str]", root: str) -> bool:
    """Tell whether a tool's input or output names a path that a pattern ignores.

    Patterns are globs over paths relative to the project (`secrets/**`, `*.pem`; `**` crosses folders); one
    without `/` matches a name anywhere. Commands are looked at word by word, so `cat secrets/key.pem` counts.
    """
    from fnmatch import fnmatchcase

    for text in texts_in(payload.get("tool_input", payload)):
        for word in text.replace('"', " ").replace("'", " ").replace("=", " ").split():
            path = word.rstrip(",;:)")
            if root and path.startswith("/"):
                path = path if path.startswith(root + "/") else real(path)
            if root and path.startswith(root + "/"):
                path = path[len(root) + 1 :]
            path = path[2:] if path.startswith("./") else path
            for pattern in patterns:
                glob = pattern.replace("**", "*")
                if fnmatchcase(path, glob) or ("/" not in glob and fnmatchcase(path.rsplit("/", 1)[-1], glob)):
                    return True
    return False


def texts_in(value: object) -> "list[str]":
    """Return every text in a JSON value."""
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in items for text in texts_in(item)]


# --- the worker, and complaints


def start_worker(home: str, env: "dict[str, str]", args: "list[str]") -> int:
    """Start `ai-memory-mcp ingest` on its own, in a session of its own; returns its pid (0 on Windows).

    It runs in AI_MEMORY_HOME, so that `-m` cannot import a module from the user's project.
    """
    child_env = {**env, "AI_MEMORY_HOME": home}
    code = f"import sys; sys.path.append({parent(parent(__file__))!r}); from ai_memory_mcp.__main__ import main; main()"
    command = [sys.executable, "-E", "-c", code, "ingest", "--quiet", *args]
    if sys.platform == "win32":
        import subprocess

        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NO_WINDOW
        subprocess.Popen(command, cwd=home, env=child_env, creationflags=flags, close_fds=True)
        return 0
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        os.chdir(home)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.execve(sys.executable, command, child_env)
    finally:
        os._exit(1)


def complain(home: str, error: BaseException) -> None:
    """Write one line to logs/emit.log, bounded; if even that fails, stay silent."""
    try:
        make_folder(home + "/logs")
        path = home + "/logs/emit.log"
        try:
            if os.stat(path).st_size > 1_000_000:
                os.replace(path, path + ".1")
        except FileNotFoundError:
            pass
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # the type and the system's own words only: a message may quote what the agent sent
        words_ = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else ""
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{stamp} {type(error).__name__} {words_}\n".encode("utf-8", "replace"))
        os.close(fd)
    except Exception:  # the log is a courtesy; the agent must see nothing
        return
