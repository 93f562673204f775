"""The way in. Agents start `serve` and `emit` all the time, so these are told apart before any import."""

import sys


def main() -> int:
    """Run the command named by the first argument; returns the exit code."""
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "serve":
        from ai_memory_mcp.server.stdio import serve_main

        return serve_main(sys.argv[2:])
    if command == "emit":
        from ai_memory_mcp.emit import main as emit_main

        return emit_main(sys.argv[2:])
    import gc

    gc.disable()  # imports make no garbage, and looking for it takes a tenth of a cold command; see cli/main.py
    from ai_memory_mcp.cli.main import main as cli_main

    return cli_main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
