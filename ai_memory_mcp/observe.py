"""From an agent's hook event to our Observation, by the agent's declarative description. Pure; never raises on a payload.

`ok` of a tool call: False for a failure event, an interruption, an error or a non-zero status; for shell commands
also when the output's words say so (`verdict`), unless the agent tells of failures itself and the command hides no
exit status. True when the agent or a test runner says success. None when nobody says and nothing looks wrong.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import json
import posixpath
import re
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any

from ai_memory_mcp import shell
from ai_memory_mcp.agents.spec import AgentSpec, pick
from ai_memory_mcp.model import Event, EventKind, Observation, Todo, ToolFamily
from ai_memory_mcp.verdict import judge_shell, read_report

FENCE_OPEN = "<ai-memory-brief"
FENCE_CLOSE = "</ai-memory-brief>"
TITLE_LIMIT = 120
TEXT_LIMIT = 16_384  # characters per text, as emit keeps them; head and tail survive
PATHS_LIMIT = 40
TODOS_LIMIT = 100

_MESSAGES = ("assistant-message", "stop", "subagent-stop")
_TOOLS = ("pre-tool", "post-tool", "tool-failure")
TIMED = ("session-start", "session-end", "pre-compact", "post-compact", "notification", "other")


def observe(event: Event, spec: AgentSpec, session_id: str) -> Observation:
    """Return the event in our terms. An event the description does not know becomes kind `other`."""
    kind = spec.kind_of(event.event)

    def field(name: str) -> Any:
        return pick(event.payload, spec.fields.get(name, ()))

    about: dict[str, Any] = {
        "id": event.id,
        "session": session_id,
        "at": event.at,
        "kind": kind,
        "source_event": event.event,
        "turn": _word(field("turn")),
        "tool_use": _word(field("tool_use")),
        "subagent": _word(field("subagent")),
        "detail": _word(field("prompt_source") if kind == "user-prompt" else field("detail")),
    }
    if kind in _TOOLS:
        given, answer = (_decoded(field(name)) if name in spec.encoded else field(name) for name in ("input", "output"))
        about |= _tool(event, spec, kind, field("tool"), _by_our_names(given, spec), answer, field("error"))
    else:
        about |= _said(kind, _words(kind, field), as_text(field("error")))
    return Observation(**about, key=_key(event, about))


def _words(kind: EventKind, field: Any) -> str:
    names = {"user-prompt": ("prompt",), "post-compact": ("summary",), "notification": ("message",), "other": ("prompt", "message", "summary")}  # fmt: skip
    wanted = names.get(kind, ("message",) if kind in _MESSAGES else ())
    return next((text for name in wanted if (text := as_text(field(name)).strip())), "")


def _said(kind: EventKind, words: str, error: str) -> dict[str, Any]:
    text = clip(strip_own(words).strip())
    failed = kind == "stop" and bool(error)
    title = first_line(text) or (first_line(error) if failed else "") or kind
    return {
        "title": title,
        "text": text,
        "output": clip(error) if failed else "",
        "ok": False if failed else None,
    }


def _tool(
    event: Event, spec: AgentSpec, kind: EventKind, tool: Any, given: Any, answer: Any, error: Any
) -> dict[str, Any]:
    name = _word(tool)
    family = family_of(name, spec)
    text = clip(strip_own(_input_text(family, given)))
    if family == "shell" and text.lstrip().startswith(("apply_patch", "*** Begin Patch")):
        family = "edit"
    failed = kind == "tool-failure" or (kind == "post-tool" and bool(as_text(error)))
    output = strip_own(as_text(error if failed and error is not None else answer))
    status: int | None = None
    if family == "shell":
        output, status = read_report(output)
    output = clip(output)
    todos = _todos(given) if family == "todo" else ()
    paths = _paths(family, given, text, event)
    return {
        "tool": name,
        "family": family,
        "text": text,
        "output": output,
        "ok": False if failed else _ok(kind, family, text, output, spec, _flag(answer, status)),
        "todos": todos,
        "paths": paths,
        "title": _title(family, name, given, text, paths, todos) or kind,
    }


def family_of(name: str, spec: AgentSpec) -> ToolFamily:
    """Return the family of a tool by the description's names and patterns; an unknown one is `other`."""
    for family, names in spec.tools.items():
        if any(fnmatchcase(name, pattern) for pattern in names):
            return family
    return "mcp" if name.startswith("mcp__") else "other"


# --- what was asked ---


def _decoded(value: Any) -> Any:
    """Undo JSON text, also around the texts in an object; what is none stays as it is."""
    if isinstance(value, dict):
        return {
            key: _decoded(item) if isinstance(item, str) and item[:1] == '"' else item for key, item in value.items()
        }
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value


def _by_our_names(given: Any, spec: AgentSpec) -> Any:
    if not isinstance(given, dict) or not spec.arguments:
        return given
    ours = {theirs: name for name, all_of_them in spec.arguments.items() for theirs in all_of_them}
    return {ours.get(key, key): value for key, value in given.items()}


def _get(given: Any, *names: str) -> Any:
    return (
        next((given[name] for name in names if given.get(name) is not None), None) if isinstance(given, dict) else None
    )


def _command(given: Any) -> str:
    command = _get(given, "command", "cmd", "script", "chars", "input") if isinstance(given, dict) else given
    if not isinstance(command, list):
        return as_text(command)
    words = [as_text(word) for word in command]
    return words[2] if len(words) == 3 and words[1] in ("-c", "-lc", "-ic") else " ".join(words)


def _input_text(family: ToolFamily, given: Any) -> str:
    if family == "shell" or (family == "edit" and isinstance(given, str | list)):
        return _command(given)
    if family == "edit":
        return _edit_text(given)
    return as_text(given)


def _edit_text(given: Any) -> str:
    path = as_text(_get(given, "file_path", "path", "notebook_path", "filePath"))
    patch = _get(given, "patch", "input", "command", "diff", "patchText")
    if patch is not None:
        return as_text(patch)
    edits = _get(given, "edits")
    parts = [_one_edit(edit) for edit in (edits if isinstance(edits, list) else [given])]
    body = "\n".join(part for part in parts if part)
    return f"{path}\n{body}" if body else as_text(given)


def _one_edit(edit: Any) -> str:
    old = as_text(_get(edit, "old_string", "old_str", "oldString", "oldText"))
    new = as_text(_get(edit, "new_string", "new_str", "newString", "newText", "content", "new_source", "file_text"))
    lines = ["- " + line for line in old.splitlines()] + ["+ " + line for line in new.splitlines()]
    return "\n".join(lines) if old else new


# --- what came back ---

_UNTRUSTED = re.compile(r"<untrusted_context>\n?(.*?)\n?</untrusted_context>\s*", re.S)


def as_text(value: Any, depth: int = 0) -> str:
    """Return any JSON value as text to read: content parts joined, stdout before stderr, else `key: value` lines."""
    if value is None or depth > 6:
        return ""
    if isinstance(value, str):
        wrapped = value.startswith("<untrusted_context>") and _UNTRUSTED.fullmatch(value)
        return wrapped[1] if wrapped else value
    if isinstance(value, list | tuple):
        return "\n".join(part for item in value[:500] if (part := as_text(item, depth + 1)))
    if isinstance(value, dict):
        return _dict_text(value, depth)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _dict_text(value: dict[Any, Any], depth: int) -> str:
    if value.get("type") in ("image", "audio"):
        return f"[{value['type']}]"
    if value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    if "stdout" in value or "stderr" in value:
        streams = (as_text(value.get("stdout"), depth + 1), as_text(value.get("stderr"), depth + 1))
        return "\n".join(stream.rstrip("\n") for stream in streams if stream.strip())
    if isinstance(value.get("structuredPatch"), list):
        return _patch_text(value, depth)
    if value.get("type") in ("create", "update") and isinstance(value.get("filePath"), str):
        return f"{value['type']}d {value['filePath']}"
    for name in ("file", "content", "output", "text", "result", "llmContent"):
        if (inner := as_text(value.get(name), depth + 1)) and not isinstance(value.get(name), bool | int):
            return inner
    pairs = [(str(key), as_text(item, depth + 1)) for key, item in list(value.items())[:100]]
    return "\n".join(f"{key}: {text}" for key, text in pairs if text)


def _patch_text(value: dict[Any, Any], depth: int) -> str:
    head = f"{value['type']}d {value.get('filePath')}" if value.get("type") in ("create", "update") else ""
    hunks = [hunk.get("lines") for hunk in value["structuredPatch"] if isinstance(hunk, dict)]
    return "\n".join(part for part in (head, *(as_text(lines, depth + 1) for lines in hunks)) if part)


def _ok(
    kind: EventKind, family: ToolFamily, text: str, output: str, spec: AgentSpec, flagged: bool | None
) -> bool | None:
    if kind == "pre-tool":
        return None
    if flagged is not None and not (flagged and family == "shell"):
        return flagged
    tells = any(event.kind == "tool-failure" for event in spec.events.values())
    if family == "shell":
        if (tells or flagged) and not shell.masks_status(text):
            return True
        judged = judge_shell(text, output)
        return True if judged is None and (tells or flagged) else judged
    if output.startswith(("<tool_use_error>", "Error:", "error:", "apply_patch verification failed")):
        return False
    return True if tells or _answers_hold_errors(spec) else None


def _answers_hold_errors(spec: AgentSpec) -> bool:
    answers = tuple(f"{place}." for place in spec.fields.get("output", ()))
    return any(place.startswith(answers) for place in spec.fields.get("error", ()))


def _flag(answer: Any, status: int | None) -> bool | None:
    """Return what the answer itself says about success: an exit status, an error flag, an interruption."""
    if status is not None:
        return status == 0
    if isinstance(answer, str) and answer.startswith('{"output"'):
        told = re.search(r'"exit_?[cC]ode":\s*(-?\d+)', answer[-400:])
        return told[1] == "0" if told else None
    code = pick(answer, ("exit_code", "exitCode", "returncode", "metadata.exit_code", "metadata.exit")) if isinstance(answer, dict) else None  # fmt: skip
    if isinstance(code, int) and not isinstance(code, bool):
        return code == 0
    if _get(answer, "interrupted", "isError", "is_error") is True or _get(answer, "success") is False:
        return False
    return None


# --- where, what to do, what to call it ---

_PATH_NAMES = ("file_path", "path", "notebook_path", "filePath", "absolute_path", "dir_path")
_PATCHED = re.compile(
    r"^(?:\*\*\* (?:Add File|Update File|Delete File|Move to): |\[(?=.+#[0-9A-F]{4}\]$))(.+?)(?:#[0-9A-F]{4}\])?$", re.M
)


def _paths(family: ToolFamily, given: Any, text: str, event: Event) -> tuple[str, ...]:
    found: list[str] = []
    if family == "shell":
        found = [path for path, _ in shell.writes(text)]
    elif family in ("edit", "read", "search"):
        named = [_get(given, name) for name in _PATH_NAMES]
        found = [path for path in named if isinstance(path, str)] + (_PATCHED.findall(text) if family == "edit" else [])
    relative = (relative_path(path, event.root, event.cwd) for path in found)
    return tuple(dict.fromkeys(path for path in relative if path))[:PATHS_LIMIT]


def relative_path(path: str, root: str, cwd: str) -> str:
    """Return a path as seen from the project's root (else the working directory); a path outside stays as it is."""
    plain, base, here = (text.strip().replace("\\", "/").rstrip("/") for text in (path, root or cwd, cwd))
    if not plain or "\n" in plain or len(plain) > 400:
        return ""
    absolute = plain.startswith(("/", "~")) or plain[1:2] == ":"
    full = posixpath.normpath(plain if absolute or not here else f"{here}/{plain}")
    same = str.lower if base[1:2] == ":" else str  # case does not count on Windows
    inside = base and same(full + "/").startswith(same(base + "/"))
    return (full[len(base) + 1 :] or ".") if inside else full


_STATES = {"completed": "completed", "done": "completed", "in_progress": "in_progress", "in-progress": "in_progress", "deleted": "completed", "cancelled": "completed", "abandoned": "completed"}  # fmt: skip


def _todos(given: Any) -> tuple[Todo, ...]:
    items = _get(given, "todos", "plan", "items", "tasks")
    listed = items if isinstance(items, list) else [given]
    return tuple(todo for item in listed[:TODOS_LIMIT] if (todo := _todo(item)))


def _todo(item: Any) -> Todo | None:
    text = as_text(_get(item, "content", "step", "subject", "text", "title", "description"))
    number = as_text(_get(item, "taskId", "task_id"))
    said = " ".join(text.split())[:400] or (f"#{number}" if number else "")
    state = _STATES.get(as_text(_get(item, "status", "state")), "pending")
    return Todo.model_validate({"text": said, "state": state}) if said else None


def _title(family: ToolFamily, name: str, given: Any, text: str, paths: tuple[str, ...], todos: tuple[Todo, ...]) -> str:  # fmt: skip
    where = f"{paths[0]} and {len(paths) - 1} more" if len(paths) > 1 else "".join(paths)
    if family == "shell":
        return first_line("$ " + text)
    if family == "todo" and todos:
        done = sum(todo.state == "completed" for todo in todos)
        return first_line(f"todo: {done}/{len(todos)} done" if len(todos) > 1 else f"todo: {todos[0].text}")
    if family in ("edit", "read"):
        return first_line(f"{family} {where}" if where else f"{family}: {text}")
    if family == "search":
        wanted = as_text(_get(given, "pattern", "query", "glob"))
        return (
            first_line(f'search "{wanted}"' + (f" in {where}" if where else ""))
            if wanted
            else first_line(f"list {where}")
        )
    wanted = as_text(_get(given, "url", "query", "description", "prompt", "message")) or text
    return first_line(f"{family} {wanted}" if family in ("web", "agent") else f"{name}: {wanted}" if wanted else name)


def first_line(text: str) -> str:
    """Return the first line with words in it, at most TITLE_LIMIT characters."""
    line = next((" ".join(line.split()) for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= TITLE_LIMIT else line[: TITLE_LIMIT - 1].rstrip() + "…"


def clip(text: str) -> str:
    """Return at most about TEXT_LIMIT characters: the head, a note of how much is missing, the tail."""
    if len(text) <= TEXT_LIMIT:
        return text
    half = TEXT_LIMIT // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


def _word(value: Any) -> str:
    return str(value)[:200] if isinstance(value, str | int) and not isinstance(value, bool) else ""


def _key(event: Event, about: dict[str, Any]) -> str:
    """Identity of a delivery. Where the agent gives no id it is the words alone: ingest looks at the time as well."""
    kind, tool_use = about["kind"], about["tool_use"]
    turn = "" if kind in ("session-start", "session-end") else about["turn"]  # these belong to none
    parts = [kind, turn, tool_use, about["subagent"]]
    if not tool_use:
        parts += [
            event.event,
            about["detail"],
            about.get("tool", ""),
            about.get("text", ""),
            about.get("output", ""),
        ]
    return blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


# --- what is ours, what is a person's ---

# Some agents escape what they were told before they give it back; of a long prompt the end of the brief may be cut out.
_LT, _GT = "(?:<|&lt;)", "(?:>|&gt;)"
_FENCED = re.compile(
    rf"[ \t]*{_LT}{FENCE_OPEN[1:]}\b[^\n]*?{_GT}"
    rf"(?:.*?(?:{_LT}{FENCE_CLOSE[1:-1]}{_GT}[ \t]*\n?|(?=</hook_context>))|.*?(?=\n…\[\d+ characters left out\])|.*\Z)",
    re.S | re.I,
)
_ANSWER = re.compile(r"<memory-data>.*?</memory-data>", re.S)  # what our tools answer, through whatever wrapper it came
_EMPTY_WRAPPER = re.compile(r"<hook_context>\s*(?:</hook_context>\s*|(?=…\[\d))", re.I)


def strip_own(text: str) -> str:
    """Return the text without briefs and answers of ours, and without the wrapper that is left empty by that."""
    if "<memory-data>" in text:
        text = _ANSWER.sub("", text)
    if FENCE_OPEN[1:] not in text.lower():
        return text
    return _EMPTY_WRAPPER.sub("", _FENCED.sub("", text))


_WRAPPED = re.compile(r"<(system-reminder|environment_context|user_instructions|ide_opened_file|ide_selection|hook_context|INSTRUCTIONS|permissions instructions|collaboration_mode)\b[^>]*>.*?</\1>\s*", re.S)  # fmt: skip
_MACHINE = re.compile(
    r"<(?:command-name|command-message|command-args|local-command-\w+|task-notification|bash-(?:input|stdout|stderr)|user-prompt-submit-hook|turn_aborted|subagent_notification|user_shell_command)\b"
    r"|\[Request interrupted by user|Stop hook feedback:|Caveat: The messages below|This session is being continued from a previous conversation|# AGENTS\.md instructions"
)
_BUILT_IN = re.compile(
    r"/(?:clear|compact|exit|quit|help|model|models|config|settings|cost|usage|status|statusline|login|logout|resume|continue|mcp|hooks|agents|permissions|context|doctor|vim|theme|new|undo|redo|memory|plugin|terminal-setup|bug|feedback|release-notes|rewind|fork|approvals|export|ide|add-dir|bashes|tasks|todos|fast|rename|color|skills)(?=\s|$)"
)


def spoken(text: str) -> str:
    """Return a prompt without the blocks that programs put around a person's words."""
    return (_WRAPPED.sub("", text) if "</" in text else text).strip()


def is_real_prompt(observation: Observation) -> bool:
    """Return whether a person asked for something: not a sub-agent, a built-in slash command or machine scaffolding."""
    if observation.kind != "user-prompt" or observation.subagent or observation.detail not in ("", "user", "sdk"):
        return False
    said = spoken(observation.text)
    return bool(said) and not _MACHINE.match(said) and not _BUILT_IN.match(said)
