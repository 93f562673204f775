"""What the hook process says at a session start: the pre-rendered brief, or a fresh one within the bound.

Part of `emit`, imported only at a session start. It reads two small files under brief/ that ingest renders:
`root-<key>.json` says which project a root folder belongs to, `<project id>.json` holds the brief in parts.
"""

import time

from ai_memory_mcp import emit
from ai_memory_mcp.alive import agent_pid, process_lives
from ai_memory_mcp.briefparts import choose, compose, dicts, text
from ai_memory_mcp.place import find_root, path_key, place_key, user_home

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

OFFER_EVENT = "handoff-offered"
WAIT = 1.5  # seconds a session start may wait for unfinished sessions to be compiled
LIMIT = 9_000  # characters; Claude Code and Codex cut at about 10,000, Cursor drops what is longer
LOOK_AT = 500  # waiting events looked at for a prompt that accepts the handoff
WORK = ("pre-tool", "post-tool", "tool-failure", "assistant-message", "stop")  # what only a prompt leads to
TYPE_CHECKING = False  # known to type checkers by its name; importing typing would double the hook's time
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
Parts = dict[str, object]


class Start:
    """The session start that is answered; `entry` is the name of its own spool entry."""

    def __init__(self, home: str, spec: Parts, payload: Parts, cwd: str, user_home: str, entry: str) -> None:
        self.home = home
        self.spec = spec
        self.agent = text(spec.get("name"))
        self.session = text(emit.field(spec, payload, "session"))
        self.cwd = cwd
        self.root, self.marker = find_root(cwd, user_home)
        self.entry = entry


def give_brief(
    home: str, env: dict[str, str], spec: Parts, payload: Parts, cwd: str, entry: str, tell: "Callable[[str], None]"
) -> None:
    """Tell the brief in the agent's shape and note which handoff it offered; silent when there is nothing."""
    start = Start(home, spec, payload, cwd, user_home(env), entry)
    limit = allowed(start, env)
    if not limit or emit.field(spec, payload, "subagent"):
        return
    again = has_brief(start)
    unheard = emit.section(emit.section(spec, "brief"), "unheard")
    brief = None
    if not unheard or not emit.holds(payload, unheard):
        brief = load(start) if again else brief_in_time(start)
    offered_at = int(entry[:20]) + 1_000_000  # not now: an agent may not wait with the prompt that goes on from it
    told = tell_brief(start, brief, limit, text(emit.section(spec, "brief").get("event")), tell, offered_at)
    if again or told or not emit.section(spec, "brief").get("late"):
        return
    if brief is None or not fresh(start, brief):
        from ai_memory_mcp.emit_rare import make_folder

        make_folder(home + "/brief")  # the first worker may still be at it
        with open(emit.late_note(home, start.agent, start.session), "wb"):  # the first prompt will ask again
            pass


def give_late_brief(
    home: str,
    env: dict[str, str],
    spec: Parts,
    payload: Parts,
    cwd: str,
    entry: str,
    tell: "Callable[[str], None]",
    event: str,
) -> None:
    """Tell with the first prompt what the session start had not the time to wait for; once."""
    start = Start(home, spec, payload, cwd, user_home(env), entry)
    os.unlink(emit.late_note(home, start.agent, start.session))
    limit = allowed(start, env)
    if limit and not emit.field(spec, payload, "subagent"):
        prompt_at = int(entry[:20])  # the prompt goes on from what is told with it
        tell_brief(start, brief_in_time(start), limit, event, tell, prompt_at - 1_000_000)


def brief_in_time(start: Start) -> "Parts | None":
    """Return the project's brief: as it lies there when it is fresh, else what the worker brings within the bound."""
    brief = load(start)
    return brief if brief is not None and fresh(start, brief) else wait_for_fresh(start)


def tell_brief(
    start: Start, brief: "Parts | None", limit: int, event: str, tell: "Callable[[str], None]", at: int
) -> bool:
    """Tell the brief and note what it offered, as of that time (ns). Returns whether it offered a handoff."""
    if brief is None:
        return False
    handoff = choose(brief, start.agent, start.session)
    if handoff and not fresh(start, brief) and gone_on(start, brief):
        handoff = None  # somebody has gone on from it, which nobody had the time to write down
    offered = text(handoff.get("id")) if handoff else ""
    before = text(read(told_note(start)).get("offered")).split() if has_brief(start) else None
    if before is not None and (not offered or offered in before):
        return False
    words = compose(brief, handoff, limit)
    if not words:
        return False
    tell(shaped(start.spec, words, event))
    if emit.section(start.spec, "brief").get("once"):
        with open(told_note(start), "wb") as file:
            file.write(emit.encode({"offered": " ".join([*(before or ()), offered])}).encode())
    if offered:
        note_offer(start, offered, at)
    return bool(offered)


def has_brief(start: Start) -> bool:
    """Tell whether this is the start of a session that is told its brief once and was told it."""
    once = emit.section(start.spec, "brief").get("once") and start.session
    return bool(once) and emit.there(told_note(start))


def told_note(start: Start) -> str:
    """Return the file that says which handoffs this session was told of with its brief."""
    return f"{start.home}/brief/told-{path_key(f'{start.agent} {start.session}')}"


def allowed(start: Start, env: dict[str, str]) -> int:
    """Return how many characters the settings and the agent allow, 0 for no brief at all."""
    limits = [LIMIT, number(emit.section(start.spec, "brief").get("limit"), LIMIT)]
    if start.marker or emit.there(start.home + "/config.toml") or "__" in "".join(env):
        from ai_memory_mcp.hooksettings import settings_from, user_settings

        for settings in (user_settings(start.home, env), settings_from(start.home, start.marker)):
            rules = emit.section(settings, "brief")
            if rules.get("enabled", True) is not True:
                return 0
            limits.append(number(rules.get("max_chars"), LIMIT))
    return int(min(limits))


def load(start: Start) -> "Parts | None":
    """Read the brief of the project that the root belongs to; None when that is unknown or may have changed."""
    place = read(f"{start.home}/brief/root-{place_key(start.root, start.marker)}.json")
    if place.get("root") != start.root or place.get("marker") != start.marker:
        return None
    if any(mtime(path) != stamp for path, stamp in emit.section(place, "stamps").items()):
        return None
    brief = read(f"{start.home}/brief/{text(place.get('project'))}.json")
    return brief if text(brief.get("head")) and text(brief.get("tail")) else None


def read(path: str) -> Parts:
    """Read a JSON object, {} for a file that is none."""
    try:
        with open(path, "rb", buffering=0) as file:
            return emit.parse(file.read()) or {}
    except (OSError, ValueError):
        return {}


def fresh(start: Start, brief: Parts) -> bool:
    """Tell whether nothing has happened in the project that the brief does not know."""
    now = time.time()
    if not now < number(brief.get("until"), 0) or any(waiting(start, brief)):
        return False
    if "asked" in brief and number(brief["asked"], 0) * 1e9 < int(start.entry[:20]):  # a server's, of before the start
        return False
    return not any(over(start, other, now, number(brief.get("idle"), 600)) for other in dicts(brief.get("open")))


def waiting(start: Start, brief: Parts) -> "Iterator[str]":
    """Yield the names of the project's spool entries but our own."""
    keys = brief.get("keys")
    endings = tuple(f"-{key}.json" for key in keys) if isinstance(keys, list) else ()
    for name in os.listdir(start.home + "/spool"):
        if name.endswith(endings) and not name.startswith((start.entry, ".")):
            yield name


def gone_on(start: Start, brief: Parts) -> bool:
    """Tell whether a prompt of another session waits in the spool: it may have accepted the handoff.

    Of an agent that does not tell of prompts everything says that it was given one.
    """
    for name in sorted(waiting(start, brief))[:LOOK_AT]:
        event = read(f"{start.home}/spool/{name}")
        spec = emit.agent_description(start.home, text(event.get("agent")))
        kinds = emit.section(spec, "events")
        kind = kinds.get(text(event.get("event")))
        session = emit.field(spec, emit.section(event, "payload"), "session")
        if (event.get("agent"), session) == (start.agent, start.session):
            continue
        if kind == "user-prompt" or (kind in WORK and "user-prompt" not in kinds.values()):
            return True
    return False


def over(start: Start, other: Parts, now: float, idle: float) -> bool:
    """Tell whether an unfinished session can be closed: its agent is gone, or it has been idle."""
    if (other.get("agent"), other.get("native")) == (start.agent, start.session):
        return False
    pid, last = other.get("pid"), other.get("last")
    if (pid and pid == agent_pid()) or not isinstance(last, (int, float)):
        return True
    return not process_lives(pid if isinstance(pid, int) else 0) or now - last > idle


def wait_for_fresh(start: Start) -> "Parts | None":
    """Have the worker ingest and render; give what is there when it is fresh, it ended, or the time is up."""
    from ai_memory_mcp.emit_rare import start_worker

    deadline = time.monotonic() + WAIT
    pid = start_worker(start.home)
    while time.monotonic() < deadline:
        time.sleep(0.02)
        ended = pid > 0 and os.waitpid(pid, os.WNOHANG)[0] == pid  # 0 on Windows: watched by its result alone
        brief = load(start)
        if ended or (brief is not None and fresh(start, brief)):
            return brief
    return load(start)


def shape_of(spec: Parts) -> str:
    """Return the name of the shape in which the agent takes a brief."""
    return text(emit.section(spec, "brief").get("shape"))


def shaped(spec: Parts, words: str, event: str) -> str:
    """Return the brief in the output shape that the agent's description names, as the answer to this event."""
    shape = shape_of(spec)
    if shape == "hookSpecificOutput":
        return emit.encode({shape: {"hookEventName": event, "additionalContext": words}})
    if shape in ("additionalContext", "additional_context"):
        return emit.encode({shape: words})
    if shape == "injectSteps":
        return emit.encode({shape: [{"ephemeralMessage": words}]})
    return words


def note_offer(start: Start, handoff: str, at: int) -> None:
    """Spool that this session was shown a handoff: without it nobody could know who may accept it."""
    place = (start.cwd, start.root, start.marker)
    body = emit.encode({"session_id": start.session})
    name, line = emit.entry_line(start.agent, OFFER_EVENT, place, body, offered=handoff, now=at)
    emit.put(start.home, f"{name}-{place_key(start.root, start.marker)}", line)


def number(value: object, default: int) -> float:
    """Return a positive number or the default."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else default


def mtime(path: str) -> int:
    """Return the modification time in ns, 0 for a file that is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0
