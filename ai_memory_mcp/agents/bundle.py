"""Ready plugins, in the formats that agents install by themselves: what an agent's description says, as files.

A plugin brings no program of ours. What its hooks run is `memory.sh` beside it, which finds the installed one; so
nothing in it depends on a machine, and those that agents fetch from a repository lie in this one
(`agent_configs/<agent>/bundle/`).
"""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from ai_memory_mcp import __version__
from ai_memory_mcp.agents import plugin
from ai_memory_mcp.agents.spec import AgentSpec, BundleFile, BundleSpec
from ai_memory_mcp.agents.wiring import Launch, fill, wanted_groups
from ai_memory_mcp.errors import InputError

FINDER = "memory.sh"
# The server has to run in the project's folder, and not every agent has a word for the plugin's folder there.
SERVE = 'PATH=$PATH:$HOME/.local/bin:$HOME/.ai-memory-mcp/bin exec ai-memory-mcp serve "$@"'
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can hold: the same content is the same file


def bundle_files(spec: AgentSpec) -> dict[str, str]:
    """Return the files of an agent's plugin: path inside it -> text. Raises InputError for an agent without one."""
    if spec.bundle is None:
        raise InputError(f"{spec.title} has no plugin format that we know; use setup --agent {spec.name}")
    finder = f"{spec.bundle.root}/{FINDER}"
    launch = Launch("sh", ("-c", SERVE, "sh"), finder, runner=("sh",))
    return {file.path: _text(file, spec, spec.bundle, launch) for file in spec.bundle.files}


def packed(spec: AgentSpec) -> bytes:
    """Return the plugin as one zip archive, the same bytes for the same content."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(bundle_files(spec).items()):
            info = zipfile.ZipInfo(path, EPOCH)
            info.external_attr = 0o644 << 16
            archive.writestr(info, text)
    return data.getvalue()


def _text(file: BundleFile, spec: AgentSpec, bundle: BundleSpec, launch: Launch) -> str:
    if file.script:
        words = [*launch.hook[:-1], FINDER, "--agent", spec.name, "--stream"]
        return plugin.script_text(file.script, _beside_the_script(words), json.dumps(_server(spec, launch)))
    values = {"version": __version__, "hooks": _hooks(spec, bundle, launch), "server": _server(spec, launch)}
    text = json.dumps(fill(file.data, values), indent=2, ensure_ascii=False)
    quoted = f"'{bundle.root}/{FINDER}'"  # in a shell line the agent's variable has to be seen
    return text.replace(quoted, json.dumps(f'"{bundle.root}/{FINDER}"')[1:-1]) + "\n"


def _server(spec: AgentSpec, launch: Launch) -> Any:
    return fill(spec.mcp.entry, {"command": launch.command, "args": launch.args, "env": {}}) if spec.mcp else {}


def _hooks(spec: AgentSpec, bundle: BundleSpec, launch: Launch) -> dict[str, Any]:
    if spec.hooks is None:
        return {}
    if bundle.group is not None:
        spec = spec.model_copy(update={"hooks": spec.hooks.model_copy(update={"group": bundle.group})})
    return {event: [group] for event, group in wanted_groups(spec, launch).items()}


def _beside_the_script(words: list[str]) -> str:
    """Return the command as an expression of JavaScript: a file beside the script is found at run time."""
    found = f"new URL({json.dumps('./' + FINDER)}, import.meta.url).pathname"
    parts = [found if word == FINDER else json.dumps(word) for word in words]
    return f"[{', '.join(parts)}]"
