"""The wire between client and server, and the methods of `Memory` on it, derived from the Protocol: `/api/v1/<method>`.

Arguments are one JSON object, by their names; the answer is the JSON of what the method returns. A method that is
added to the Protocol is an endpoint at once, and needs a token that may write until `only_reads` knows it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, TypeAdapter, create_model

from ai_memory_mcp.memory import Memory

PREFIX = "/api/v1/"
HOOK = "/hook"  # takes batches of events
BRIEF = "/hook/brief"
NONCE = "AI-Memory-Nonce"  # a word that the sender of a batch has left in its own home
FRESH_HEADER = "AI-Memory-Fresh"  # from who has just delivered events: the answer is to know of them
UPLOAD = "/upload"  # takes the files of an import; `folder` is then the upload's id
READS = frozenset("resolve search read history recent handoffs brief sessions projects status".split())
READS_UNLESS = {"lint": ("fix", "report"), "contradictions": ("judge",)}  # one of these is asked for
LONG = frozenset(  # may take minutes
    """ingest import_markdown enrich consolidate contradictions lint reindex forget purge_project scrub
    merge_projects""".split()
)
OWN = frozenset(["close"])  # what everyone does for himself

METHODS: Mapping[str, Any] = {
    name: method for name, method in vars(Memory).items() if inspect.isfunction(method) and name[0] != "_"
}


def only_reads(name: str, given: Mapping[str, Any]) -> bool:
    """Tell whether a method changes nothing when it is called with these arguments."""
    return name in READS or (name in READS_UNLESS and not any(given.get(flag) for flag in READS_UNLESS[name]))


class Endpoint:
    """One method: its arguments as a model, its result as an adapter."""

    def __init__(self, name: str) -> None:
        method = METHODS[name]
        hints = get_type_hints(method)
        parameters = list(inspect.signature(method).parameters.values())[1:]
        fields: dict[str, Any] = {
            one.name: (hints[one.name], ... if one.default is one.empty else one.default)
            for one in parameters
            if get_origin(hints[one.name]) is not Callable  # nobody is called back over the wire
        }
        self.name = name
        self.arguments: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        self.result: TypeAdapter[Any] = TypeAdapter(hints["return"])


@cache
def endpoint(name: str) -> Endpoint:
    """Return the endpoint of a method of `Memory`. Raises KeyError for one that there is not."""
    if name in OWN:
        raise KeyError(name)
    return Endpoint(name)
