"""Transcripts: an agent's own record of its past sessions, read as what its hooks would have told of them.

A reader for each format, named as in `[transcripts]` of an agent's description; none knows an agent. Each gives the
sessions of a file by its head alone, so that what capture policy excludes need not be read, and then what was said
and done in one of them. Whatever a line holds, nothing is raised for it: formats change, and most of a file is better
than none of it. The formats are not documented; this is what the clients write (versions: see the descriptions).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from ai_memory_mcp.errors import InputError, StorageError
from ai_memory_mcp.index import foreign
from ai_memory_mcp.model import EventKind
from ai_memory_mcp.observe import as_text, spoken, strip_own

HEAD_LINES = 40  # of a file, in which its session and folder are told
_LAST = 253_402_300_799_000  # ms; the end of the year 9999, almost
_STATUS = re.compile(r"^(?:Process exited with code|Exit code:?) (-?\d+)", re.M)
_RUNNING = re.compile(r"^Process running with session ID (\w+)", re.M)
_COMMAND = re.compile(r"<command-name>\s*(\S+?)\s*</command-name>")
_ARGUMENTS = re.compile(r"<command-args>(.*?)</command-args>", re.S)
_FOLDERS = re.compile(r"Workspace Directories:\*\*\s*\n\s*- (.+)")
_OF_PROGRAMS = ("<", "[Request interrupted", "Caveat: ", "# AGENTS.md instructions", "This session is being continued")
Json = dict[str, Any]


class Head(NamedTuple):
    """One session in a file: the agent's own id of it, its folder ('' where untold), Unix ms of its last change."""

    file: Path
    session: str
    cwd: str
    last: int


class Said(NamedTuple):
    """What a hook would have told: Unix ms, kind, an id that is the agent's own and lasts, the folder, and by our
    names (`prompt`, `tool`, `input` …) what it says."""

    at: int
    kind: EventKind
    id: str
    cwd: str
    fields: Json


class Format(NamedTuple):
    """How to read files of one format."""

    heads: Callable[[Path], list[Head]]
    said: Callable[[Head], list[Said]]


def format_named(name: str) -> Format:
    """Return the reader of a format. Raises InputError for an unknown one."""
    if name not in FORMATS:
        raise InputError(f"there is no reader for transcripts of the format '{name}'; known are {', '.join(FORMATS)}")
    return FORMATS[name]


class _Course:
    """Collects what happened in a session. The last words of the agent before the next prompt end its turn."""

    def __init__(self, head: Head) -> None:
        self.head = head
        self.cwd = head.cwd
        self.told: list[Said] = []
        self._answer: Said | None = None

    def add(self, kind: EventKind, at: Any, ident: str, **fields: Any) -> None:
        """Note an event. What has no time is left out."""
        when = _millis(at)
        if when is None:
            return
        if not fields.get("subagent"):
            self._answer = None
        self.told.append(Said(when, kind, ident, self.cwd, {name: one for name, one in fields.items() if one != ""}))

    def prompt(self, at: Any, ident: str, text: str, **fields: Any) -> None:
        """Note a prompt, the beginning of a turn. What only a program said ('') ends the one before all the same."""
        self.end()
        if text:
            self.add("user-prompt", at, ident, prompt=text, **fields)

    def remark(self, at: Any, ident: str, text: str, **fields: Any) -> None:
        """Note words of the agent: its answer, unless work follows."""
        when = _millis(at)
        if when is not None and text.strip():
            told = {"message": text, **{name: one for name, one in fields.items() if one != ""}}
            self._answer = Said(when, "subagent-stop" if fields.get("subagent") else "stop", ident, self.cwd, told)

    def broken_off(self) -> None:
        """Note that the turn had no end."""
        self._answer = None

    def end(self) -> list[Said]:
        """Note the end of a turn, or of all; returns what was noted."""
        if self._answer:
            self.told.append(self._answer)
        self._answer = None
        return self.told


# --- Claude Code: ~/.claude/projects/<folder>/<session>.jsonl, sub-agents in files of their own (2.1)


def _claude_heads(path: Path) -> list[Head]:
    session = cwd = ""
    for line in _head_lines(path):
        session = session or _text(line, "sessionId")
        cwd = cwd or _text(line, "cwd")
        if session and cwd:
            return [Head(path, session, cwd, _changed(path))]
    return []


def _claude_said(head: Head) -> list[Said]:
    course = _Course(head)
    calls: dict[str, Json] = {}
    turn = ""
    for number, line in enumerate(_lines(head.file)):
        if _text(line, "sessionId") not in ("", head.session) or line.get("type") not in ("user", "assistant"):
            continue
        course.cwd = _text(line, "cwd") or course.cwd
        at, ident = line.get("timestamp"), _text(line, "uuid") or f"{head.session}:{number}"
        subagent = (_text(line, "agentId") or "sidechain") if line.get("isSidechain") is True else ""
        turn = _text(line, "promptId") or turn
        content = _table(line, "message").get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if line["type"] == "assistant":
            calls |= {_text(part, "id"): part for part in _tables(parts) if part.get("type") == "tool_use"}
            if any(part.get("type") == "tool_use" for part in _tables(parts)):
                course.broken_off()
            text = _joined(parts)
            if text and line.get("isApiErrorMessage") is not True:
                course.remark(at, ident, text, turn=turn, subagent=subagent)
            continue
        for part in _tables(parts):
            if part.get("type") == "tool_result":
                _claude_result(course, calls, line, part, turn, subagent)
        text = _joined(parts)
        if line.get("isCompactSummary") is True:
            course.add("post-compact", at, ident, summary=text, turn=turn)
        elif text and not subagent and line.get("isMeta") is not True:
            course.prompt(at, ident, _claude_prompt(text), turn=turn)
    return course.end()


def _claude_prompt(text: str) -> str:
    command, arguments = _COMMAND.search(text), _ARGUMENTS.search(text)
    if command:
        return f"/{command[1].lstrip('/')} {arguments[1] if arguments else ''}".strip()
    return _of_a_person(text)


def _claude_result(course: _Course, calls: Json, line: Json, part: Json, turn: str, subagent: str) -> None:
    ident = _text(part, "tool_use_id")
    call, result = calls.get(ident), line.get("toolUseResult")
    if call is None or result == "User rejected tool use":
        return
    about = {
        "tool": _text(call, "name"),
        "input": call.get("input"),
        "tool_use": ident,
        "turn": turn,
        "subagent": subagent,
    }
    if part.get("is_error") is True:
        course.add("tool-failure", line.get("timestamp"), f"tool:{ident}", error=as_text(part.get("content")), **about)
        return
    answer = part.get("content") if result is None else result
    course.add("post-tool", line.get("timestamp"), f"tool:{ident}", output=answer, **about)


# --- Codex: ~/.codex/sessions/YYYY/MM/DD/rollout-<time>-<session>.jsonl (0.169; older ones have no turn ids)


def _codex_heads(path: Path) -> list[Head]:
    for line in _head_lines(path):
        told = _table(line, "payload")
        if line.get("type") == "session_meta":
            of_an_agent = isinstance(told.get("source"), dict) or _text(told, "thread_source") == "subagent"
            session = _text(told, "id")
            return [] if of_an_agent or not session else [Head(path, session, _text(told, "cwd"), _changed(path))]
    return []


def _codex_said(head: Head) -> list[Said]:
    course = _Course(head)
    calls: dict[str, Json] = {}
    running: dict[str, Any] = {}
    turn = ""
    for number, line in enumerate(_lines(head.file)):
        kind, told, at = line.get("type"), _table(line, "payload"), line.get("timestamp")
        what = _text(told, "type")
        if kind == "turn_context":
            turn, course.cwd = _text(told, "turn_id") or turn, _text(told, "cwd") or course.cwd
        elif kind == "event_msg" and what == "task_started":
            turn = _text(told, "turn_id") or turn
        elif kind == "event_msg" and what == "turn_aborted":
            course.broken_off()
        elif kind == "compacted" and _text(told, "message"):
            course.add("post-compact", at, f"{head.session}:{number}", summary=_text(told, "message"), turn=turn)
        elif kind == "response_item":
            passed = _table(told, "internal_chat_message_metadata_passthrough")
            turn = _text(passed, "turn_id") or turn
            ident = _text(told, "id") or f"{head.session}:{number}"
            if what == "message" and told.get("role") == "user":
                texts = [_of_a_person(_text(part, "text")) for part in _tables(told.get("content"))]
                course.prompt(at, ident, "\n".join(filter(None, texts)), turn=turn)
            elif what == "message" and told.get("role") == "assistant":
                course.remark(at, ident, _joined(told.get("content")), turn=turn)
            elif what in ("function_call", "custom_tool_call", "local_shell_call"):
                calls[_text(told, "call_id")] = told
                course.broken_off()
            elif what in ("function_call_output", "custom_tool_call_output"):
                _codex_result(course, calls, running, told, at, turn)
    return course.end()


def _codex_result(course: _Course, calls: Json, running: Json, told: Json, at: Any, turn: str) -> None:
    ident = _text(told, "call_id")
    call = calls.get(ident)
    if call is None:
        return
    given = _decoded(call.get("arguments", call.get("input", call.get("action"))))
    answer = _decoded(told.get("output"))
    text = as_text(answer)
    status = _STATUS.search(text[:400])
    head, marked, rest = text.partition("\nOutput:\n")
    if marked and len(head) < 400:
        text = rest
        answer = {"stdout": text, "exit_code": int(status[1])} if status else text
    if isinstance(given, dict):
        number = str(given.get("session_id", ""))
        if number in running and not given.get("chars"):  # it only asks what came of a command that takes long
            given = running[number]
        if found := _RUNNING.search(head):
            running[found[1]] = given
    tool = _text(call, "name") or "shell"
    course.add("post-tool", at, f"tool:{ident}", tool=tool, input=given, output=answer, tool_use=ident, turn=turn)


# --- Gemini CLI: ~/.gemini/tmp/<project>/chats/session-*.jsonl, before 0.40 one JSON object in a .json (0.61)


def _gemini_heads(path: Path) -> list[Head]:
    lines = _head_lines(path)
    session = next((_text(line, "sessionId") for line in lines if line.get("sessionId")), "")
    kind = next((_text(line, "kind") for line in lines if line.get("sessionId")), "")
    if not session or kind not in ("", "main"):
        return []
    cwd = ""
    with suppress(OSError, ValueError):
        cwd = (path.parent.parent / ".project_root").read_text(encoding="utf-8").strip()
    if not cwd:
        told = _FOLDERS.search(as_text([message.get("content") for message in _gemini_messages(lines)][:1]))
        cwd = told[1].strip() if told else ""
    return [Head(path, session, cwd, _changed(path))]


def _gemini_messages(lines: list[Json]) -> list[Json]:
    """Return the messages. A line repeats the one with its id and says more; when a session is resumed, all are
    repeated with a new time and say less."""
    found: dict[str, Json] = {}
    for line in lines:
        listed = _tables(line.get("messages")) or _tables(_table(line, "$set").get("messages"))
        for message in listed or ([line] if line.get("id") else []):
            ident = _text(message, "id")
            known = found.get(ident, {})
            found[ident] = {**message, **{key: known[key] for key in ("timestamp", "toolCalls") if key in known}}
            found[ident] |= {"toolCalls": message["toolCalls"]} if message.get("toolCalls") else {}
    return list(found.values())


def _gemini_said(head: Head) -> list[Said]:
    course = _Course(head)
    for message in _gemini_messages(list(_lines(head.file))):
        at, ident, content = message.get("timestamp"), _text(message, "id"), message.get("content")
        text = content if isinstance(content, str) else _joined(content)
        if message.get("type") == "user":
            if text:  # else it brings what tools answered
                course.prompt(at, ident, _of_a_person(text))
        elif message.get("type") == "gemini":
            calls = _tables(message.get("toolCalls"))
            for call in calls:
                _gemini_call(course, call, at)
            if not calls:
                course.remark(at, ident, text)
    return course.end()


def _gemini_call(course: _Course, call: Json, at: Any) -> None:
    parts = [_table(_table(part, "functionResponse"), "response") for part in _tables(call.get("result"))]
    answer = next((part for part in parts if part), {})
    fields: Json = {"tool": _text(call, "name"), "input": call.get("args")}
    fields["output"] = {"llmContent": as_text(answer.get("output", answer.get("error", answer)))}
    if call.get("status") == "error":
        fields["error"] = as_text(answer.get("error", answer))
    if call.get("status") != "cancelled":
        course.add("post-tool", call.get("timestamp") or at, f"tool:{_text(call, 'id')}", **fields)


# --- Pi and its fork: ~/.pi/agent/sessions/<folder>/<time>_<session>.jsonl (session format 3)


def _pi_heads(path: Path) -> list[Head]:
    for line in _head_lines(path):
        if line.get("type") == "session" and _text(line, "id"):
            return [Head(path, _text(line, "id"), _text(line, "cwd"), _changed(path))]
    return []


def _pi_said(head: Head) -> list[Said]:
    course = _Course(head)
    calls: dict[str, Json] = {}
    for number, line in enumerate(_lines(head.file)):
        at = line.get("timestamp")
        ident = f"{head.session}:{_text(line, 'id') or number}"  # its own are short
        told = _table(line, "message")
        role, content = told.get("role"), told.get("content")
        turn = str(told.get("timestamp") or "")
        if line.get("type") == "compaction":
            course.add("post-compact", at, ident, summary=_text(line, "summary"))
        elif line.get("type") != "message":
            continue
        elif role == "user":
            text = content if isinstance(content, str) else _joined(content)
            prompt = _of_a_person(text) if told.get("attribution", "user") == "user" else ""
            course.prompt(told.get("timestamp") or at, ident, prompt, turn=turn)
        elif role == "assistant":
            used = {_text(part, "id"): part for part in _tables(content) if part.get("type") == "toolCall"}
            calls |= used
            if used or told.get("stopReason") in ("aborted", "error"):
                course.broken_off()
            else:
                course.remark(at, ident, _joined(content), turn=turn)
        elif role == "toolResult":
            used_id = _text(told, "toolCallId")
            call = calls.get(used_id, {})
            tool = _text(told, "toolName") or _text(call, "name")
            fields = {"tool": tool, "input": call.get("arguments"), "tool_use": used_id}
            when = told.get("timestamp") or at
            if told.get("isError") is True:
                course.add("tool-failure", when, f"tool:{used_id}", error=as_text(content), **fields)
            else:
                course.add("post-tool", when, f"tool:{used_id}", output=content, **fields)
    return course.end()


# --- OpenCode: ~/.local/share/opencode/opencode.db (1.18; the JSON files of versions before 1.2 are not read)

_OPENCODE = "SELECT id, directory, time_updated FROM session WHERE parent_id IS NULL ORDER BY time_created, id"
_OPENCODE_PARTS = """SELECT m.id AS message, m.data AS about, p.id AS id, p.data AS part, p.time_created AS at
    FROM message m JOIN part p ON p.message_id = m.id WHERE m.session_id = ? ORDER BY m.time_created, m.id, p.id"""


def _opencode_heads(path: Path) -> list[Head]:
    found = _unless_damaged(foreign.rows(path, _OPENCODE))
    return [Head(path, str(row["id"]), str(row["directory"]), _millis(row["time_updated"]) or 0) for row in found]


def _unless_damaged(found: Iterator[Json]) -> Iterator[Json]:
    """Yield rows as far as they can be read; of a version with other tables none can."""
    with suppress(StorageError):
        yield from found


def _opencode_said(head: Head) -> list[Said]:
    course = _Course(head)
    for row in _unless_damaged(foreign.rows(head.file, _OPENCODE_PARTS, (head.session,))):
        about, part = _parsed(row["about"]), _parsed(row["part"])
        at, kind, text = row["at"], part.get("type"), _text(part, "text")
        if about.get("role") == "user":
            if kind == "text" and part.get("synthetic") is not True:
                course.prompt(at, row["id"], _of_a_person(_unquoted(text)), turn=row["message"])
            continue
        turn = _text(about, "parentID")
        if kind == "text" and about.get("summary") is True:
            course.add("post-compact", at, row["id"], summary=text, turn=turn)
        elif kind == "text":
            course.remark(_table(part, "time").get("end") or at, row["id"], text, turn=turn)
        elif kind == "tool":
            _opencode_call(course, part, at, turn)
    return course.end()


def _unquoted(text: str) -> str:
    """Return a prompt from the command line, which it puts into quotes, as it was typed."""
    quoted = re.fullmatch(r'"((?:[^"\\]|\\.)* (?:[^"\\]|\\.)*)"', text, re.S)
    return quoted[1].replace('\\"', '"') if quoted else text


def _opencode_call(course: _Course, part: Json, at: Any, turn: str) -> None:
    state, ident = _table(part, "state"), _text(part, "callID")
    when = _table(state, "time").get("end") or at
    fields = {"tool": _text(part, "tool"), "input": state.get("input"), "tool_use": ident, "turn": turn}
    status = _table(state, "metadata").get("exit")
    if state.get("status") == "error":
        course.add("tool-failure", when, f"tool:{ident}", error=as_text(state.get("error")), **fields)
    elif isinstance(status, int) and status != 0:
        error = f"Exit code {status}\n{as_text(state.get('output'))}"
        course.add("tool-failure", when, f"tool:{ident}", error=error, **fields)
    elif state.get("status") == "completed":
        course.add("post-tool", when, f"tool:{ident}", output=state.get("output"), **fields)


FORMATS: Mapping[str, Format] = {
    "claude-jsonl": Format(_claude_heads, _claude_said),
    "codex-rollout": Format(_codex_heads, _codex_said),
    "gemini-chats": Format(_gemini_heads, _gemini_said),
    "opencode-db": Format(_opencode_heads, _opencode_said),
    "pi-jsonl": Format(_pi_heads, _pi_said),
}


# --- reading


def _of_a_person(text: str) -> str:
    """Return a prompt without what programs put around it; '' where that is all, or all of it is a program's."""
    said = spoken(strip_own(text))
    return "" if said.startswith(_OF_PROGRAMS) else said


def _lines(path: Path) -> Iterator[Json]:
    """Yield the JSON objects of a file: of its lines, or the one that it holds; torn and strange ones are left out."""
    try:
        if path.suffix == ".json":
            yield _parsed(path.read_text(encoding="utf-8", errors="replace"))
            return
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                if found := _parsed(line):
                    yield found
    except OSError:  # it has been removed, or is not ours to read
        return


def _head_lines(path: Path) -> list[Json]:
    return [line for _, line in zip(range(HEAD_LINES), _lines(path), strict=False)]


def _parsed(text: Any) -> Json:
    try:
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _decoded(value: Any) -> Any:
    """Return what JSON text holds; other text stays as it is."""
    return (_parsed(value) or value) if isinstance(value, str) and value[:1] == "{" else value


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return value if isinstance(value, str) else ""


def _table(told: Mapping[str, Any], name: str) -> Json:
    value = told.get(name)
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[Json]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _joined(parts: Any) -> str:
    """Return the texts among the parts of a message."""
    texts = (_text(part, "text") for part in _tables(parts) if part.get("type", "text").endswith("text"))
    return "\n".join(filter(None, texts)).strip()


def _changed(path: Path) -> int:
    try:
        return int(path.stat().st_mtime * 1000)
    except OSError:
        return 0


def _millis(value: Any) -> int | None:
    """Read a time: Unix ms, or ISO 8601. None for none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LAST:
        return int(value)
    try:
        when = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (ValueError, AttributeError):
        return None
    aware = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
    return round(aware.timestamp() * 1000)
