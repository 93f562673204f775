#!/bin/sh
# What an agent's hook runs: `emit AGENT EVENT`, the event on stdin. This file's path never changes (agents trust
# hooks by their exact command); setup and the worker write its content anew when the package has moved.
# When the package is gone it says nothing and succeeds, so that no agent is ever disturbed.
[ -n "$AI_MEMORY_HOME" ] || AI_MEMORY_HOME=@HOME@
export AI_MEMORY_HOME
[ -x @PYTHON@ ] || exit 0
[ -r @ROOT@/ai_memory_mcp/emit.py ] && exec @PYTHON@ -I -S -c @CODE@ "$@"
cd "$AI_MEMORY_HOME" && @PYTHON@ -m ai_memory_mcp emit "$@" 2>/dev/null
exit 0
