# What an agent's hook runs on Windows: `emit.ps1 AGENT EVENT`, the event on stdin. This file's path never changes
# (agents trust hooks by their exact command); setup and the worker write its content anew when the package has moved.
# Python inherits stdin and stdout as they are: a pipeline of PowerShell's would decode the bytes and encode others.
# When interpreter or package are gone it says nothing and succeeds, so that no agent is ever disturbed.
trap {
    try { [Console]::OpenStandardInput().CopyTo([IO.Stream]::Null) } catch { }
    exit 0
}
if (-not $env:AI_MEMORY_HOME) { $env:AI_MEMORY_HOME = @HOME@ }
& @PYTHON@ -I -S -c @CODE@ @args
exit 0
