"""The tools: each asks `Memory` and renders the answer. Runs in the memory's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ai_memory_mcp.errors import InputError
from ai_memory_mcp.memory import Memory
from ai_memory_mcp.model import Draft, HandoffDraft, Query, Scope
from ai_memory_mcp.server import render
from ai_memory_mcp.server.arguments import check_arguments
from ai_memory_mcp.server.caller import Caller

Arguments = dict[str, Any]


def run_tool(memory: Memory, caller: Caller, scope: Scope, tool: dict[str, Any], given: Arguments) -> str:
    """Run one tool and return its answer as text. Raises AiMemoryError."""
    arguments = check_arguments(tool, given)
    scope = scope.model_copy(update={"project": arguments.pop("project", "")})
    return _HANDLERS[tool["name"]](memory, caller, scope, arguments)


def _search(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.answer(memory.search(scope, Query(text=arguments.pop("query"), **arguments)))


def _read(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    offset = arguments.pop("offset", 0)
    return render.document(memory.read(scope, arguments.pop("ref"), **arguments), offset)


def _write(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    if not arguments["title"].strip() or not arguments["body"].strip():
        raise InputError("memory.write needs a title and a body that are not empty")
    return render.written(memory.write(scope, Draft(**arguments, agent=caller.agent, session=caller.session)))


def _handoff(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return _ACTIONS[arguments.pop("action")](memory, caller, scope, arguments)


def _get(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    wanted = arguments.get("id")
    waiting = memory.handoffs(scope, every=bool(wanted))
    found = [handoff for handoff in waiting if wanted in (None, handoff.id, handoff.path)]
    if wanted and not found:
        raise InputError(f"there is no handoff '{wanted}'; memory.handoff with action list shows all")
    if found:
        return render.handoff(found[0])
    taken = [handoff for handoff in memory.handoffs(scope, every=True) if handoff.state == "accepted"]
    if not taken:
        return "No handoff is waiting in this project."
    last = max(taken, key=lambda handoff: handoff.accepted or handoff.created)
    return f"No handoff is waiting. The last one was accepted by {last.accepted_by}:\n\n{render.handoff(last)}"


def _leave(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    if not arguments.get("summary", "").strip():
        raise InputError("memory.handoff with action leave needs a summary: the goal and the state of the work")
    arguments.pop("id", None)
    left = memory.leave_handoff(scope, HandoffDraft(**arguments, from_agent=caller.agent, from_session=caller.session))
    return f"Handoff {left.id} is left for {left.to_agent}; the next session of this project is offered it."


def _accept(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    taken = memory.accept_handoff(scope, arguments.get("id", ""), by=caller.session, agent=caller.agent)
    return "It is yours now; no other session will be offered it.\n" + render.handoff(taken)


def _list(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.handoffs(memory.handoffs(scope, every=True))


def _close(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    if not arguments.get("id"):
        raise InputError("memory.handoff with action close needs the id; action list shows it")
    return f"Handoff {memory.close_handoff(scope, arguments['id']).id} is closed."


def _brief(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.brief(memory.brief(scope, agent=caller.agent))


def _feedback(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.feedback(memory.feedback(scope, **arguments, agent=caller.agent, session=caller.session))


def _forget(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.forgotten(memory.forget(scope, **arguments, agent=caller.agent))


def _consolidate(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.consolidation(memory.consolidate(scope, arguments.get("session", ""), wait=False)[0])


def _lint(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    rule = arguments.get("rule", "")
    return render.linted(memory.lint(scope, rules=(rule,) if rule else ()))


def _status(memory: Memory, caller: Caller, scope: Scope, arguments: Arguments) -> str:
    return render.status(memory.status(scope, figures=False))


_Handler = Callable[[Memory, Caller, Scope, Arguments], str]
_ACTIONS: dict[str, _Handler] = {
    "get": _get,
    "leave": _leave,
    "accept": _accept,
    "list": _list,
    "close": _close,
}
_HANDLERS: dict[str, _Handler] = {
    "memory.search": _search,
    "memory.read": _read,
    "memory.write": _write,
    "memory.handoff": _handoff,
    "memory.brief": _brief,
    "memory.feedback": _feedback,
    "memory.forget": _forget,
    "memory.consolidate": _consolidate,
    "memory.lint": _lint,
    "memory.status": _status,
}
