"""What a language model is shown of a repository: its documents and the pages by rule, and the commits that tell most.

In the order of what it is worth: `enriching_prompt` cuts where a question is full. What it says depends on the
repository alone, so that nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ai_memory_mcp import bootstrap_history as history
from ai_memory_mcp import bootstrap_sources as sources
from ai_memory_mcp.bootstrap import OVERVIEW, Made
from ai_memory_mcp.model import Excerpt
from ai_memory_mcp.repolog import Repo

README, PILLAR, RECORD, DOCUMENT = 10_000, 8_000, 3_000, 2_500  # characters of one file
PILLARS, RECORDS, DOCUMENTS = 4, 8, 12
BY_RULE: Mapping[str, int] = {OVERVIEW: 8_000, "procedures/build-and-test.md": 4_000, "concepts/modules.md": 10_000}
COMMITS, MESSAGE = 60, 1_500


def excerpts(repo: Repo, made: Sequence[Made], since: str = "") -> tuple[Excerpt, ...]:
    """Return the excerpts of a repository and of the pages that were made of it; of its history those after `since`.
    Raises InputError when git cannot be asked."""
    return (*_of_files(repo, made), *_of_history(repo, since))


def _of_files(repo: Repo, made: Sequence[Made]) -> Iterator[Excerpt]:
    names = [name for name in repo.files() if name.isprintable()]
    told: dict[str, int] = dict.fromkeys(sources.readmes(names)[:1], README)
    told |= dict.fromkeys(sources.pillars(names)[:PILLARS], PILLAR)
    told |= dict.fromkeys(sources.instructions(names)[:PILLARS], PILLAR)
    told |= dict.fromkeys(sources.decision_records(names)[:RECORDS], RECORD)
    by_rule = {page.path: page.body for page in made}
    found = [("file", name, repo.text(name, limit)) for name, limit in told.items()]
    found += [("page", path, by_rule.get(path, "")[:limit]) for path, limit in BY_RULE.items()]
    documents = [name for name in sources.docs(names) if name not in told][:DOCUMENTS]
    found += [("file", name, repo.text(name, DOCUMENT)) for name in documents]
    for of, source, text in found:
        if text.strip():
            yield Excerpt.model_validate({"of": of, "part": "files", "source": source, "text": text})


def _of_history(repo: Repo, since: str) -> Iterator[Excerpt]:
    for commit in history.telling(repo.commits(since), COMMITS):
        yield Excerpt(of="commit", part="history", source=commit.id, text=history.message(commit, MESSAGE))
