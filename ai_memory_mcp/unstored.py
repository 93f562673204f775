"""The log of events that were not stored, kept short: all but the newest lines are summed up in its first one.

What was set aside keeps its line while it waits to be tried again. An event that is delivered again after its line was
summed up is judged anew, to the same end: at worst it is counted twice.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from ai_memory_mcp import ledger
from ai_memory_mcp.index import rows
from ai_memory_mcp.journal import UNSTORED
from ai_memory_mcp.resources import Resources

LONG = 4 * 2**20  # bytes
KEPT = 10_000  # lines, of about 200 bytes


def is_long(res: Resources) -> bool:
    """Tell whether the log is to be summed up."""
    return res.journal.size(UNSTORED) > LONG


def sum_up(res: Resources) -> None:
    """Sum up all but the newest lines. The caller holds the ingest lock, and the index knows all of the log.

    Raises StorageError.
    """
    with res.index.read() as db:
        counted = rows.unstored_ids(db)
    lines = list(res.journal.read(UNSTORED))
    sums: Counter[tuple[str, str]] = Counter()
    single: dict[str, dict[str, Any]] = {}
    for record in lines:
        if record.get("type") == "unstored-sum":
            sums.update({(why, project): count for why, project, count in record["counts"]})
        elif record.get("id") in counted:  # else it was tried again, and stored
            single[record["id"]] = record
    for one in list(single.values())[: max(0, len(single) - KEPT)]:
        if one["why"] != "set_aside":
            sums[one["why"], one.get("project", "")] += 1
            del single[one["id"]]
    if len(single) + bool(sums) < len(lines):
        first = {"type": "unstored-sum", "counts": [[*key, count] for key, count in sorted(sums.items())]}
        ledger.rewrite(res.index, res.journal, UNSTORED, [first, *single.values()])
