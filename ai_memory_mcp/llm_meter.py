"""What models cost, and when they are left alone: `llm/meter.json` in AI_MEMORY_HOME, `llm/embedding.json` for vectors.

Tokens are booked before they are spent and corrected by the provider's own count afterwards. So a process that is
killed while it waits leaves its estimate booked: the daily limit errs on the cheap side. Only the few tokens of a
search's question are noted afterwards, as a line of a file beside it: a search waits for no lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from ai_memory_mcp.errors import LlmError
from ai_memory_mcp.files import locked, private_dir, write_atomic
from ai_memory_mcp.model import Spending, Value

LOCK_WAIT = 10.0  # seconds; it is held for a moment
DAYS_KEPT = 31
PATIENCE = 3  # failures in a row after which the provider is left alone for a while
FIRST_PAUSE, LONGEST_PAUSE = 300.0, 4 * 3600.0  # seconds
PROVIDERS_FAULT = ("down", "slow", "limited")  # what was asked may be asked again, by anybody
HOPELESS = ("key", "model")  # nobody needs to ask again before somebody has changed something
WHO = {"llm": "the language model", "embedding": "the embedding model"}  # by the section of its settings
SEARCH = "search"  # the purpose of what is noted
CHARS_PER_TOKEN = 3  # on the safe side for English and code
PAUSES = (2.0, 8.0)  # seconds before another try
LONGEST_WAIT = 20.0  # seconds; who asks for more patience is asked again by a later worker

T = TypeVar("T")


def tried_again(ask: Callable[[], T], kinds: Collection[str], pauses: Sequence[float]) -> T:
    """Return what `ask` returns; after an error of these kinds it is tried again, once after each of the pauses.

    Raises LlmError: the last one, or the first that no patience helps against.
    """
    for pause in (*pauses, None):
        try:
            return ask()
        except LlmError as problem:
            if pause is None or problem.kind not in kinds or problem.wait > LONGEST_WAIT:
                raise
            time.sleep(max(pause, problem.wait))
    raise AssertionError("the last try returns or raises")


class _Record(Value):
    """The file. Days are dates in UTC, purposes what the model was asked for; `why` is the last failure."""

    days: dict[str, dict[str, Spending]] = Field(default_factory=dict)
    failures: int = 0
    paused_until: float = 0.0
    why: str = ""


class Meter:
    """Books tokens and failures. Safe for concurrent processes; a damaged file begins anew."""

    def __init__(self, home: Path, section: str = "llm") -> None:
        name = "meter" if section == "llm" else section
        self._path = home / "llm" / f"{name}.json"
        self._noted = home / "llm" / f"{name}.log"
        self._taken = home / "llm" / f"{name}.log.taken"  # noted lines that are just being added up
        self._lock = home / "locks" / f"llm-{name}.lock"
        self._section = section

    def begin(self, purpose: str, estimate: int, cap: int, *, now: datetime, asked: bool = False) -> None:
        """Book a call and the tokens it may cost. Raises LlmError when the day's are spent, or during a pause.

        Who `asked` for it in person is not kept waiting by a pause.
        """

        def change(record: _Record) -> _Record:
            if not asked and record.paused_until > now.timestamp():
                raise LlmError(self._pause(record), "paused")
            spent = _spent(record, now)
            if spent + estimate > cap:
                raise LlmError(
                    f"{spent:,} of {cap:,} tokens for today are spent and this takes about {estimate:,}; wait for"
                    f" tomorrow, or raise daily_tokens under [{self._section}] in config.toml",
                    "capped",
                )
            return _booked(record, now, purpose, Spending(calls=1, input=estimate))

        self._change(change)

    def end(self, purpose: str, estimate: int, spent: tuple[int, int], *, now: datetime) -> None:
        """Book what a call really cost, (tokens in, tokens out). The provider works, so a pause is over."""
        cost = Spending(input=spent[0] - estimate, output=spent[1])
        healthy = {"failures": 0, "paused_until": 0.0, "why": ""}
        self._change(lambda record: _booked(record, now, purpose, cost).model_copy(update=healthy))

    def failed(self, purpose: str, estimate: int, error: LlmError, *, now: datetime) -> None:
        """Note a call that brought no answer; after some of them in a row the provider is left alone for a while.

        The estimate stays booked where the provider may have worked for nothing.
        """
        unspent = 0 if error.kind == "slow" else estimate
        lost = Spending(failed=1, input=-unspent)
        self._change(lambda record: _blamed(_booked(record, now, purpose, lost), error, now))

    def paused(self, now: datetime) -> str:
        """Say why and until when the provider is left alone, '' when it is not."""
        record = self._read()
        return self._pause(record) if record.paused_until > now.timestamp() else ""

    def spent(self, now: datetime) -> int:
        """Return the tokens booked today, in and out."""
        return _spent(self._read(), now)

    def days(self, now: datetime, count: int = 7) -> dict[str, dict[str, Spending]]:
        """Return what the last days (dates in UTC, newest first) cost by purpose; days without a call are left out."""
        known = self._read().days
        wanted = (_day(now - timedelta(days=ago)) for ago in range(count))
        return {day: known[day] for day in wanted if day in known}

    def note(self, tokens: int, *, failed: bool, now: datetime) -> None:
        """Note what the question of a search cost (0 for no answer, with `failed` for one that came too late); without
        waiting for anybody. A note that cannot be made is lost."""
        with suppress(OSError):
            self._noted.parent.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self._noted, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(fd, f"{int(now.timestamp())} {tokens} {int(failed)}\n".encode())
            finally:
                os.close(fd)

    def failing(self, now: datetime) -> bool:
        """Tell whether the last questions of searches all failed, and the last one not long ago."""
        last = _lines(self._noted)[-PATIENCE:]
        in_vain = len(last) == PATIENCE and all(failed for _, _, failed in last)
        return in_vain and now.timestamp() - last[-1][0] < FIRST_PAUSE

    def _change(self, change: Callable[[_Record], _Record]) -> None:
        with locked(self._lock, timeout=LOCK_WAIT):
            if not self._taken.exists():
                with suppress(OSError):
                    os.replace(self._noted, self._taken)
            record = change(self._record(self._taken))
            private_dir(self._path.parent)
            write_atomic(self._path, record.model_dump_json(indent=1).encode())
            with suppress(OSError):
                self._taken.unlink()

    def _read(self) -> _Record:
        return self._record(self._taken, self._noted)

    def _record(self, *noted: Path) -> _Record:
        try:
            record = _Record.model_validate_json(self._path.read_bytes())
        except (OSError, ValidationError):
            record = _Record()
        for at, tokens, failed in (line for path in noted for line in _lines(path)):
            when = datetime.fromtimestamp(at, timezone.utc)
            late = failed and tokens > 0  # it was counted when it did not come
            cost = Spending(calls=int(not late), failed=int(failed and not late), input=tokens)
            record = _booked(record, when, SEARCH, cost)
        return record

    def _pause(self, record: _Record) -> str:
        until = datetime.fromtimestamp(record.paused_until, timezone.utc)
        return f"{WHO[self._section]} is left alone until {until:%Y-%m-%d %H:%M} UTC: {record.why}"


def _lines(path: Path) -> list[tuple[int, int, bool]]:
    """Return (Unix time, tokens, whether it failed) of the lines of a file; none where there is no such file."""
    try:
        told = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
        return [(int(at), max(0, int(tokens)), failed == "1") for at, tokens, failed in told]
    except (OSError, ValueError):
        return []


def _day(now: datetime) -> str:
    return now.astimezone(timezone.utc).date().isoformat()


def _spent(record: _Record, now: datetime) -> int:
    return sum(one.input + one.output for one in record.days.get(_day(now), {}).values())


def _booked(record: _Record, now: datetime, purpose: str, more: Spending) -> _Record:
    """Return the record with more spent today (never less than nothing), without the days of long ago."""
    oldest = _day(now - timedelta(days=DAYS_KEPT))
    days = {day: dict(told) for day, told in record.days.items() if day > oldest}
    today = days.setdefault(_day(now), {})
    before = today.get(purpose, Spending())
    today[purpose] = Spending(
        **{name: max(0, getattr(before, name) + getattr(more, name)) for name in Spending.model_fields}
    )
    return record.model_copy(update={"days": days})


def _blamed(record: _Record, error: LlmError, now: datetime) -> _Record:
    """Return the record after a failure: with a pause, twice as long each time, once there is no hope in asking on."""
    if error.kind not in PROVIDERS_FAULT + HOPELESS:
        return record
    failures = record.failures + 1
    pause = error.wait
    if failures >= PATIENCE or error.kind in HOPELESS:
        pause = max(pause, FIRST_PAUSE * 2.0 ** min(max(failures - PATIENCE, 0), 10))
    until = now.timestamp() + min(pause, LONGEST_PAUSE) if pause else record.paused_until
    return record.model_copy(update={"failures": failures, "paused_until": until, "why": str(error)})
