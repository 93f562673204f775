"""Trust for our hooks in Codex, which skips hooks that its user has not approved by hash.

Only Codex can compute the hash: it is asked over `codex app-server` (JSON-RPC on stdio). Writing the entry
stands in for the user's own approval, so callers ask first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_memory_mcp.agents.changes import Plan
from ai_memory_mcp.agents.install import plan_edit
from ai_memory_mcp.agents.pieces import Target, locate, settings_path
from ai_memory_mcp.agents.spec import AgentSpec
from ai_memory_mcp.agents.trustkeys import own_trust_keys, wire_trust
from ai_memory_mcp.agents.wiring import Launch, emit_line
from ai_memory_mcp.errors import InstallError
from ai_memory_mcp.processes import conversation

_BY_HAND = "open codex, type /hooks and approve the hooks of ai-memory there"


def codex_trust_plan(
    spec: AgentSpec, target: Target, launch: Launch, memory_home: Path, codex: str | None, limit: float = 10.0
) -> Plan:
    """Return the change of config.toml that makes Codex trust our hooks, which must be wired already.

    `codex` is the executable (None: not found), `limit` seconds for its answer. Raises InstallError when it
    cannot be asked, answers oddly, or does not know our hooks: the message says how to do it by hand.
    """
    hooks = settings_path(spec, "hooks", target)
    if not codex or hooks is None or spec.hooks is None:
        raise InstallError(f"the codex command was not found; {_BY_HAND}")
    ours = own_trust_keys(spec, hooks, launch)
    cwd = target.project or target.user_home
    commands = {emit_line(launch, spec, event) for event in spec.events}
    hooks_known = ask_hooks(codex, cwd, {**target.env, "HOME": str(target.user_home)}, limit)
    hashes = _hashes(hooks_known, commands)
    trusted = {key: hashes[key] for forms in ours for key in forms if key in hashes}
    if not ours or len(trusted) < len(ours):
        raise InstallError(f"codex knows {len(trusted)} of the {len(ours)} hooks in {hooks}; {_BY_HAND}")
    path = locate(spec.hooks.trust_file, spec, target)
    return plan_edit(path, spec, "trust", lambda draft: wire_trust(draft, trusted), memory_home)


def ask_hooks(codex: str, cwd: Path, env: Mapping[str, str], limit: float) -> list[dict[str, Any]]:
    """Return what `hooks/list` says for this folder. Raises InstallError."""
    deadline = time.monotonic() + limit
    try:
        with conversation([codex, "app-server"], env=env, cwd=cwd) as server:
            server.ask("initialize", {"clientInfo": {"name": "ai-memory-mcp", "version": "1"}}, deadline)
            server.tell("initialized")
            result = server.ask("hooks/list", {"cwds": [str(cwd)]}, deadline)
        return [hook for folder in result["data"] for hook in folder["hooks"] if isinstance(hook, dict)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError(f"codex did not say which hooks it knows ({error!r}); {_BY_HAND}") from error


def _hashes(hooks: list[dict[str, Any]], commands: set[str]) -> dict[str, str]:
    known = [hook for hook in hooks if hook.get("command") in commands]
    return {
        str(hook["key"]): str(hook["currentHash"])
        for hook in known
        if str(hook.get("currentHash")).startswith("sha256:")
    }
