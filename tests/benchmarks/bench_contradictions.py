"""Time in which `lint --llm` finds its pairs: `python tests/benchmarks/bench_contradictions.py FOLDER [PAGES ...]`.

The pages (10,000 and 50,000) are stretches of the text files below FOLDER, which are full of names. Nobody is asked:
what is told is the time until all pairs are there, of search and of names, and how many each of them gives.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter, defaultdict
from datetime import timedelta
from itertools import islice
from pathlib import Path

from bench_search import NOW, project, stretches

from ai_memory_mcp import contradictions, markdown
from ai_memory_mcp.config import Config
from ai_memory_mcp.index import rows
from ai_memory_mcp.model import Page
from ai_memory_mcp.resources import Resources


def measure(home: Path, source: Path, count: int) -> None:
    """Fill a memory and print the figures."""
    here, res = project(0), Resources.at(home, str(home), Config())
    wiki = res.wiki(here)
    with res.index.write() as db:
        rows.put_project(db, here)
        for number, text in enumerate(islice(stretches(source, count), count)):
            path, when = f"decisions/page-{number}.md", NOW + timedelta(seconds=number)
            line = max(text.splitlines(), key=len).strip()
            page = Page(
                id=f"p{number}",
                path=path,
                title=line[:60] or "Page",
                kind="decision",
                project=here.id,
                body=text,
                created=when,
                updated=when,
                summary=line[:200],
            )
            rows.put_page(db, page, 0, 0, ())
            (wiki.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (wiki.folder / path).write_text(markdown.text_from(page), encoding="utf-8")
    for _ in range(2):
        started = last = time.perf_counter()
        by, took = Counter[str](), defaultdict[str, float](float)
        for pair in contradictions.candidates(res, here):
            way = "name" if pair.name else "search"
            by[way] += 1
            last, before = time.perf_counter(), last
            took[way] += last - before
        told = ", ".join(f"{by[way]} pairs by {way} in {took[way]:.2f} s" for way in by)
        print(f"{count:>7,} pages: {told}; all in {time.perf_counter() - started:.2f} s")


def main() -> None:
    """Print two lines for each size: cold and warm."""
    for count in map(int, sys.argv[2:] or ("10000", "50000")):
        with tempfile.TemporaryDirectory() as name:
            measure(Path(name), Path(sys.argv[1]), count)


if __name__ == "__main__":
    main()
