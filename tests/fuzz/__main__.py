"""`python tests/fuzz AREA [SECONDS]`: look for bytes that break a promise, guided by the code that they reach.

Needs atheris. What it finds is written to crash-… in the working folder; `python tests/fuzz AREA FILE` shows it again.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Run one area."""
    import atheris

    sys.path.insert(0, str(HERE.parent))
    with atheris.instrument_imports(include=["ai_memory_mcp", "areas", "yaml", "tomllib"]):
        from areas import AREAS

    area, what = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    if not what.isdigit():
        AREAS[area](Path(what).read_bytes())
        return
    AREAS[area](b"")  # what is made once is no reason to call the first input slow
    found = tempfile.mkdtemp(prefix="fuzz-corpus-")
    words = [found, str(HERE / "seeds" / area), f"-max_total_time={what}", "-max_len=4096", "-timeout=60", "-seed=1"]
    atheris.Setup([sys.argv[0], *words, "-print_final_stats=1"], AREAS[area])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
