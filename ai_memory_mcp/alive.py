"""Does a process still run? Shared by the hook (so it imports `os` alone) and by the closing of sessions."""

import os


def process_lives(pid: int) -> bool:
    """Tell whether a process runs on this machine; one that cannot be told counts as running.

    A zombie has ended: it only waits for a parent that may never ask (a killed agent's children in a container).
    """
    if pid <= 1:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(512).rpartition(b")")[2].split()[:1] != [b"Z"]
    except OSError:  # no /proc here
        return True
