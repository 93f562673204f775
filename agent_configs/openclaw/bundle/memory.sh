#!/bin/sh
# What a plugin's hooks run: `memory.sh AGENT EVENT`. It finds the installed ai-memory-mcp; where there is none it says
# nothing and succeeds, so that no agent is ever disturbed.
PATH=$PATH:$HOME/.local/bin:$HOME/.ai-memory-mcp/bin
for home in "$AI_MEMORY_HOME" "${XDG_DATA_HOME:-$HOME/.local/share}/ai-memory" "$HOME/Library/Application Support/ai-memory"; do
  [ -n "$home" ] && [ -x "$home/bin/emit" ] || continue
  { read -r _ && read -r about; } <"$home/bin/emit"
  [ "$about" = "# retired" ] || exec "$home/bin/emit" "$@"
done
command -v ai-memory-mcp >/dev/null 2>&1 && exec ai-memory-mcp emit "$@"
cat >/dev/null 2>&1
exit 0
