"""Servers to test against, with a small memory in place of files.

    python tests/serving.py ours|ticking|underscore|sdk [exit-mark-file]

`ours` is the real stdio server, `ticking` the same with a background task that fails, `underscore` with such
names for its tools, `sdk` the official SDK's own with the same tools. The memory keeps what it is told in lists.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ai_memory_mcp.server.stdio import run_stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ai_memory_mcp.memory import Memory
    from ai_memory_mcp.server.caller import Caller


def open_small() -> Memory:
    """Open the small memory; imported late, as the real one is."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from small_memory import SmallMemory

    return SmallMemory()


def main(mode: str, mark: str) -> int:
    """Serve until stdin ends."""
    if mode == "sdk":
        return _sdk_server()

    def on_exit(caller: Caller) -> None:
        if mark:
            Path(mark).write_text(f"{caller.agent} {caller.session}", encoding="utf-8")

    def tick() -> None:
        Path(f"{mark}.ticks").write_text(" ".join(sys.modules), encoding="utf-8")
        raise OSError("the same every time")

    return run_stdio(
        open_small,
        env=os.environ,
        on_exit=on_exit,
        tick=tick if mode == "ticking" else None,
        tick_seconds=0.3,
        waiting_hint=lambda cwd: "A handoff is waiting.",
        tool_names="underscore" if mode == "underscore" else "dotted",
    )


def _sdk_server() -> int:
    import anyio
    from mcp.server.stdio import stdio_server

    from ai_memory_mcp.server.sdk import Desk, build_server
    from ai_memory_mcp.server.tools import instructions

    async def run() -> None:
        desk = Desk(open_small, env=os.environ, cwd=os.getcwd(), agent="")
        server = build_server(desk, instructions("A handoff is waiting."))
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(run)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else ""))
