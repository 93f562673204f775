"""A brief is kept in parts (fence, handoffs, rest) and put together for one reader. Pure, and imports nothing:
the hook process does this at every session start."""

_CUT = "\n(cut; memory.brief has more)\n"


def choose(brief: "dict[str, object]", agent: str, session: str) -> "dict[str, object] | None":
    """Return the handoff to offer to this session: the first that is for this agent and not its own."""
    for handoff in dicts(brief.get("handoffs")):
        own = handoff.get("agent") == agent and handoff.get("session") == session
        if handoff.get("to") in ("any", agent) and not own:
            return handoff
    return None


def compose(brief: "dict[str, object]", handoff: "dict[str, object] | None", limit: int) -> str:
    """Put the parts together, the handoff first, cut to `limit` characters with the fence kept closed."""
    told = text(handoff.get("text")) if handoff else ""
    body = told + text(brief.get("rest"))
    if not body:
        return ""
    head, tail = text(brief.get("head")), text(brief.get("tail"))
    room = limit - len(head) - len(tail)
    if len(body) > room:
        room -= len(_CUT)
        if room < 1:
            return ""
        body = body[: max(body.rfind("\n", 0, room), 0) or room] + _CUT
    return head + body + tail


def text(value: object) -> str:
    """Return a text or ''."""
    return value if isinstance(value, str) else ""


def dicts(value: object) -> "list[dict[str, object]]":
    """Return the objects of a list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
