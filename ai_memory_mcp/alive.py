"""Which process is the agent, and does it still run? Shared by the hook, so it imports built-in modules only."""

import sys

try:
    import posix as os
except ImportError:  # Windows
    import os  # type: ignore[no-redef]

GONE = "agent-gone"  # the event, in no agent's name, that says so: its stream or its server has come to an end
SHELLS = (b"sh", b"dash", b"bash", b"zsh", b"ksh", b"fish", b"env", b"timeout")


WHENEVER = 2**32 - 1  # milliseconds that are none to Windows
_agent: "list[int]" = []


def agent_pid() -> int:
    """Return the process that runs this hook, past the shells that it may use to do so; 0 where it cannot be told,
    1 (or what stands for it) where the agent has died before its hook.

    Asked once: a stream outlives its agent by what it has still to store. On Windows it cannot: the parent is the
    PowerShell of this one hook, whose number is another process's soon.
    """
    if sys.platform == "win32":
        return 0
    if not _agent:
        _agent.append(_find_agent())
    return _agent[0]


def _find_agent() -> int:
    pid = os.getppid()
    for _ in range(4):
        name, rest = _stat(pid)
        if name == b"systemd":  # a user's own takes orphans over as the first process does
            return 1
        if name not in SHELLS or len(rest) < 2 or int(rest[1]) <= 1:
            break
        pid = int(rest[1])
    return pid


def process_lives(pid: int) -> bool:
    """Tell whether a process runs on this machine; one that cannot be told counts as running.

    A zombie has ended: it only waits for a parent that may never ask (a killed agent's children in a container).
    """
    if not 1 < pid < 2**31:
        return True
    if sys.platform == "win32":  # there, kill means kill
        return not ended(pid, 0)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return _stat(pid)[1][:1] != [b"Z"]


def far_pid(machine: int, pid: int) -> int:
    """Return the number by which a process of another machine is known here: none that a process here can have."""
    return (machine << 32) + pid if pid else 0


def near_pid(machine: int, pid: int) -> int:
    """Return the process of this machine that goes by a far number, as it is called here; others stay."""
    return pid & 0xFFFFFFFF if pid >> 32 == machine else pid


def ended(pid: int, milliseconds: int) -> bool:
    """On Windows: tell whether a process ends within this time (WHENEVER waits for it); False where nobody may know."""
    if sys.platform == "win32":
        import _winapi

        try:
            process = _winapi.OpenProcess(_winapi.SYNCHRONIZE, False, pid)
        except OSError as error:
            return error.winerror == 87  # "the parameter is incorrect": there is no such process
        try:
            return _winapi.WaitForSingleObject(process, milliseconds) == _winapi.WAIT_OBJECT_0
        finally:
            _winapi.CloseHandle(process)
    return False


def _stat(pid: int) -> "tuple[bytes, list[bytes]]":
    """Return the name of a process, and its state, parent … as Linux tells them; (b"", []) elsewhere."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)  # `open` costs as much again as all of this
    except OSError:
        return b"", []
    try:
        head, _, rest = os.read(fd, 512).rpartition(b")")
    except OSError:  # it has just ended
        return b"", []
    finally:
        os.close(fd)
    return head.partition(b"(")[2], rest.split()
