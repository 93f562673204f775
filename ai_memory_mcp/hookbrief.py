"""What the hook process says at a session start: the pre-rendered brief, or a fresh one within the bound.

Part of `emit`, imported only at a session start. It reads two small files under brief/ that ingest renders:
`root-<key>.json` says which project a root folder belongs to, `<project id>.json` holds the brief in parts.
"""

import os
import time

from ai_memory_mcp import emit
from ai_memory_mcp.alive import process_lives
from ai_memory_mcp.briefparts import choose, compose, dicts, text
from ai_memory_mcp.place import find_root, place_key

OFFER_EVENT = "handoff-offered"


def give_brief(
    home: str,
    env: "dict[str, str]",
    spec: "dict[str, object]",
    payload: "dict[str, object]",
    cwd: str,
    entry: str,
) -> None:
    """Print the brief in the agent's shape and note which handoff it offered; silent when there is nothing."""
    root, marker = find_root(cwd, env.get("HOME") or env.get("USERPROFILE", ""))
    agent = text(spec.get("name"))
    session = text(emit.field(spec, payload, "session"))
    rules = emit.section(emit.settings_from(home, marker), "brief") if marker else {}
    if rules.get("enabled") is False or emit.field(spec, payload, "subagent"):
        return
    brief = load(home, root, marker)
    if brief is None or not fresh(home, brief, entry, agent, session):
        brief = wait_for_fresh(home, env, root, marker, entry, agent, session)
    if brief is None:
        return
    handoff = choose(brief, agent, session)
    limit = min(emit.number(rules.get("max_chars"), emit.BRIEF_LIMIT), shape_limit(spec))
    words = compose(brief, handoff, limit)
    if not words:
        return
    say(shaped(spec, words))
    if handoff:
        note_offer(home, spec, payload, cwd, root, marker, text(handoff.get("id")))


def load(home: str, root: str, marker: str) -> "dict[str, object] | None":
    """Read the brief of the project that `root` belongs to; None when that is unknown or may have changed."""
    place = emit.read_json(f"{home}/brief/root-{place_key(root, marker)}.json")
    if place is None or place.get("root") != root or place.get("marker") != marker:
        return None
    for path, stamp in emit.section(place, "stamps").items():
        if mtime(path) != stamp:
            return None
    return emit.read_json(f"{home}/brief/{text(place.get('project'))}.json")


def fresh(home: str, brief: "dict[str, object]", entry: str, agent: str, session: str) -> bool:
    """Tell whether nothing has happened in the project that the brief does not know."""
    now = time.time()
    until = brief.get("until")
    if not isinstance(until, (int, float)) or now >= until:
        return False
    keys = tuple(f"-{key}.json" for key in emit.words(brief.get("keys")))
    for name in os.listdir(home + "/spool"):
        if name.endswith(keys) and not name.startswith((entry, ".")):
            return False
    return not any(over(other, now, agent, session, brief) for other in dicts(brief.get("open")))


def over(other: "dict[str, object]", now: float, agent: str, session: str, brief: "dict[str, object]") -> bool:
    """Tell whether an unfinished session can be closed: its agent is gone, or it has been idle."""
    if other.get("agent") == agent and other.get("native") == session:
        return False
    pid = other.get("pid")
    last = other.get("last")
    if pid == os.getppid() or not isinstance(last, (int, float)):
        return True
    return not process_lives(pid if isinstance(pid, int) else 0) or now - last > emit.number(brief.get("idle"), 600)


def wait_for_fresh(
    home: str, env: "dict[str, str]", root: str, marker: str, entry: str, agent: str, session: str
) -> "dict[str, object] | None":
    """Have the worker ingest and render; give what is there when it is fresh, it ended, or the time is up."""
    deadline = time.monotonic() + emit.BRIEF_WAIT
    pid = emit.start_worker(home, env, [])
    while time.monotonic() < deadline:
        time.sleep(0.02)
        ended = pid > 0 and os.waitpid(pid, os.WNOHANG)[0] == pid  # 0 on Windows: watched by its result alone
        brief = load(home, root, marker)
        if brief is not None and fresh(home, brief, entry, agent, session):
            return brief
        if ended:
            return brief
    return load(home, root, marker)


def shape_limit(spec: "dict[str, object]") -> int:
    """Return how many characters this agent takes whole."""
    return emit.number(emit.section(spec, "brief").get("limit"), emit.BRIEF_LIMIT)


def shaped(spec: "dict[str, object]", words: str) -> str:
    """Return the brief in the output shape that the agent's description names."""
    brief = emit.section(spec, "brief")
    shape = brief.get("shape")
    if shape == "hookSpecificOutput":
        inner = {"hookEventName": text(brief.get("event")), "additionalContext": words}
        return emit.encode({"hookSpecificOutput": inner})
    if shape in ("additionalContext", "additional_context"):
        return emit.encode({shape: words})
    return words


def say(words: str) -> None:
    """Write to stdout; an agent that has gone away is no error."""
    data = (words + "\n").encode("utf-8", "replace")
    while data:
        data = data[os.write(1, data) :]


def note_offer(
    home: str,
    spec: "dict[str, object]",
    payload: "dict[str, object]",
    cwd: str,
    root: str,
    marker: str,
    handoff: str,
) -> None:
    """Spool that this session was shown a handoff: without it nobody could know who may accept it."""
    now = time.time_ns()
    name = f"{now:020d}-{os.getpid()}-{os.urandom(4).hex()}"
    event = {
        "v": 1,
        "id": name,
        "at": now // 1_000_000,
        "agent": text(spec.get("name")),
        "event": OFFER_EVENT,
        "cwd": cwd,
        "root": root,
        "marker": marker,
        "pid": os.getppid(),
        "offered": handoff,
        "payload": {"session_id": emit.field(spec, payload, "session")},
    }
    emit.put(home, f"{name}-{place_key(root, marker)}", (emit.encode(event) + "\n").encode("utf-8", "replace"))


def mtime(path: str) -> int:
    """Return the modification time in ns, 0 for a file that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0
