"""Arguments of a tool call, checked against the tool's own schema.

Models mistype: a number or a flag as text and one text instead of a list are taken as meant; the rest is
refused with a message that says how to call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ai_memory_mcp.errors import InputError

_FLAGS = {"true": True, "false": False}


def check_arguments(tool: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the schema asks for, without nulls. Raises InputError."""
    schema = tool["inputSchema"]
    known: dict[str, Any] = schema["properties"]
    present = {name: value for name, value in given.items() if value is not None}
    for name in present:
        if name not in known:
            raise InputError(f"{tool['name']} has no argument '{name}'; it takes: {', '.join(known)}")
    for name in schema.get("required", ()):
        if name not in present:
            raise InputError(f"{tool['name']} needs the argument '{name}'")
    return {name: _value(name, value, known[name]) for name, value in present.items()}


def _value(name: str, value: Any, schema: Mapping[str, Any]) -> Any:
    wanted = schema["type"]
    if wanted == "array":
        return tuple(_value(name, item, schema["items"]) for item in (value if isinstance(value, list) else [value]))
    if wanted == "string":
        value = _text(name, value)
    elif wanted == "boolean":
        value = _flag(name, value)
    else:
        value = _number(name, value, schema)
    if "enum" in schema and value not in schema["enum"]:
        raise InputError(f"'{name}' cannot be '{value}'; it is one of: {', '.join(schema['enum'])}")
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"'{name}' must be text, not {type(value).__name__}")
    return value.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored


def _flag(name: str, value: Any) -> bool:
    flag = _FLAGS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise InputError(f"'{name}' must be true or false")
    return flag


def _number(name: str, value: Any, schema: Mapping[str, Any]) -> int:
    try:
        if isinstance(value, bool) or int(value) != float(value):
            raise ValueError
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"'{name}' must be a whole number") from None
    return int(min(max(number, schema.get("minimum", number)), schema.get("maximum", number)))
