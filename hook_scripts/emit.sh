#!/bin/sh
# What an agent's hook runs: `emit AGENT EVENT`, the event on stdin. This file's path never changes (agents trust
# hooks by their exact command); setup and the worker write its content anew when the package has moved.
# When interpreter or package are gone it says nothing and succeeds, so that no agent is ever disturbed. So it does
# without arguments: that is an agent which runs the hooks of another one, and leaves out their arguments.
[ -n "$AI_MEMORY_HOME" ] || AI_MEMORY_HOME=@HOME@
export AI_MEMORY_HOME
[ $# -gt 0 ] && [ -x @PYTHON@ ] && exec @PYTHON@ -I -S -c @CODE@ "$@"
cat >/dev/null 2>&1
exit 0
