"""What a client notes of its deliveries: when the last one was, and since when the server is away.

While it is, background deliveries are put off (`away.json`), so that a hook never waits for a server that is not there.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ai_memory_mcp.files import private_dir, remove, write_atomic

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0  # seconds


def delivered_at(home: Path) -> float:
    """Return when events were last delivered (Unix time), 0.0 for never."""
    try:
        return os.stat(nonce_file(home)).st_mtime
    except OSError:
        return 0.0


def nonce_file(home: Path) -> Path:
    """Where the word of the delivery at work stands."""
    return home / "locks" / "deliver.nonce"


def paused(home: Path, *, now: float) -> str:
    """Return why deliveries are put off just now, '' when they are not. Foreground commands try all the same."""
    told = _away(home)
    until = told.get("until")
    waiting = isinstance(until, int | float) and now < until <= now + LONGEST_PAUSE  # else the clock was set back
    return str(told.get("why") or "the server is away") if waiting else ""


def away_since(home: Path) -> tuple[float, str] | None:
    """Return since when the server has taken nothing (Unix time) and why, None when the last delivery worked."""
    told = _away(home)
    since = told.get("since")
    return (float(since), str(told.get("why", ""))) if isinstance(since, int | float) else None


def pause(home: Path, why: str, *, now: float) -> None:
    """Put the next delivery off: each time longer, up to LONGEST_PAUSE."""
    told = _away(home)
    tries = told["tries"] if isinstance(told.get("tries"), int) else 0
    until = now + min(FIRST_PAUSE * 2 ** min(tries, 10), LONGEST_PAUSE)
    away = {"since": told.get("since", now), "tries": tries + 1, "until": until, "why": why}
    write_atomic(private_dir(home) / "away.json", json.dumps(away).encode())


def resume(home: Path) -> None:
    """Note that the server is there."""
    remove(home / "away.json")


def _away(home: Path) -> dict[str, Any]:
    try:
        told = json.loads((home / "away.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
