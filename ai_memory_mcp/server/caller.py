"""Who calls: which agent, in which of its sessions, in which folder, by what the agents' descriptions say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ai_memory_mcp.agents.spec import AgentSpec, all_specs


class Caller(NamedTuple):
    """An agent, its own id of the session ('' if it does not tell), and its project folder ('' likewise)."""

    agent: str = ""
    session: str = ""
    root: str = ""


def identify(client: str, env: Mapping[str, str], meta: Mapping[str, object]) -> Caller:
    """Say who calls, from the client's own name, the server's environment and the `_meta` of a call.

    An unknown client keeps the name that it gave; raises ConfigError when an agent's description is wrong.
    """
    spec = _spec_of(client, env)
    if spec is None:
        return Caller(agent=client)
    session = _walk(meta, spec.session.meta) or env.get(spec.session.server_env, "")
    return Caller(spec.name, session, env.get(spec.session.root_env, ""))


def _spec_of(client: str, env: Mapping[str, str]) -> AgentSpec | None:
    wanted = client.lower().replace(" ", "-")
    named = [
        (len(name), spec)
        for spec in all_specs().values()
        for name in (spec.name, *spec.aliases)
        if wanted == name or wanted.startswith(f"{name}-")
    ]
    if named:
        return max(named, key=lambda pair: pair[0])[1]
    present = [spec for spec in all_specs().values() if spec.session.server_env and spec.session.server_env in env]
    return present[0] if len(present) == 1 and not client else None


def _walk(meta: Mapping[str, object], places: tuple[str, ...]) -> str:
    value: object = meta
    for place in places:
        value = value.get(place) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""
