"""The embedding model: asked in its own way, only for what is new, never in anybody's way; and search by meaning."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from library import NOW, Library
from provider import Provider, provider

from ai_memory_mcp import embed, embedding
from ai_memory_mcp.cli.main import main
from ai_memory_mcp.config import Config, EmbeddingConfig, SearchConfig, api_key, load_config
from ai_memory_mcp.doctor import examine, try_embedding
from ai_memory_mcp.embedding import Embedder
from ai_memory_mcp.errors import BusyError, ConfigError, LlmError
from ai_memory_mcp.llm_meter import Meter
from ai_memory_mcp.local import LocalMemory
from ai_memory_mcp.model import Answer, Scope, Spending
from ai_memory_mcp.ranking import tokens
from ai_memory_mcp.resources import Resources
from ai_memory_mcp.server import render

KEY = "sk-" + "made-up-key"
SECRET = "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8"


@pytest.fixture
def stand_in() -> Iterator[Provider]:
    with provider() as found:
        yield found


@pytest.fixture
def library(tmp_path: Path, stand_in: Provider) -> Library:
    """A memory with an embedding model, and three pages that no question here shares a word with."""
    library = Library(tmp_path, Config(embedding=settings(stand_in)))
    library.page("Choice", "We took postgres because sqlite locked up.")
    library.page("Fridays", "The release train leaves at noon.")
    library.page("Office", "A dog and a cat live here.")
    return library


def settings(stand_in: Provider, **more: object) -> EmbeddingConfig:
    told = {"provider": "openai-compatible", "model": "m-1", "base_url": stand_in.base("openai"), "wait_ms": 10_000}
    return EmbeddingConfig.model_validate({**told, **more})


def again(library: Library, **more: object) -> Library:
    """The same memory, opened with other settings of the embedding model."""
    res = library.memory.res
    changed = Config(embedding=res.config.embedding.model_copy(update=more))
    library.memory = LocalMemory(replace(res, config=changed))
    return library


def texts(stand_in: Provider) -> list[str]:
    """All texts that were sent, in their order."""
    return [text for asked in stand_in.asked for text in asked.body["input"]]


def titles(found: Answer) -> list[str]:
    return [hit.title for hit in found.hits]


# --- the wire


@pytest.mark.parametrize("name", ["openai", "voyage", "gemini", "openai-compatible"])
def test_each_provider_is_asked_in_its_own_way(name: str, stand_in: Provider, home: Path) -> None:
    door = Embedder(settings(stand_in, provider=name), KEY, home, pauses=())
    vectors = door.embed(["postgres", "sqlite", "a dog"])
    question, cost = door.ask("rows", 10.0)

    def near(one: tuple[float, ...], other: tuple[float, ...]) -> float:
        return sum(map(float.__mul__, one, other))

    assert [round(near(vector, vector), 6) for vector in (*vectors, question)] == [1.0] * 4
    assert near(question, vectors[0]) > 0.7 > 0.4 > near(question, vectors[2])
    assert {(asked.path, asked.key) for asked in stand_in.asked} == {("/v1/embeddings", KEY)}
    kinds = [asked.body.get("input_type") for asked in stand_in.asked]
    assert kinds == (["document", "query"] if name == "voyage" else [None, None])
    assert cost == 1


def test_the_providers_own_addresses_and_keys_are_known() -> None:
    for name, host, variable in (
        ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("voyage", "https://api.voyageai.com/v1", "VOYAGE_API_KEY"),
        ("gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    ):
        config = EmbeddingConfig(provider=name, model="m")
        assert embedding.address(config) == host
        assert api_key(config, {variable: KEY, "OTHER_API_KEY": "no"}) == KEY


def test_an_endpoint_of_ones_own_gets_no_key_unless_told(stand_in: Provider, home: Path) -> None:
    Embedder(settings(stand_in), "", home).embed(["x"])

    assert "authorization" not in stand_in.asked[0].headers
    assert api_key(settings(stand_in), {"OPENAI_API_KEY": KEY}) == ""


@pytest.mark.parametrize(
    ("mode", "kind", "tries"),
    [
        ("error", "down", 3),
        ("busy", "down", 3),
        ("down", "down", 3),
        ("html", "down", 3),
        ("garbage", "down", 3),
        ("shape", "down", 3),
        ("truncated", "down", 3),
        ("limited", "limited", 3),
        ("key", "key", 1),
        ("forbidden", "key", 1),
        ("unknown", "model", 1),
        ("request", "request", 1),
    ],
)
def test_every_way_to_fail_is_told_apart_and_what_may_pass_is_tried_again(
    mode: str, kind: str, tries: int, stand_in: Provider, home: Path
) -> None:
    stand_in.modes = [mode]
    with pytest.raises(LlmError) as error:
        Embedder(settings(stand_in), KEY, home, pauses=(0.0, 0.0)).embed(["x", "y"])

    assert error.value.kind == kind, error.value
    assert len(stand_in.asked) == tries
    assert KEY not in str(error.value)
    days = Meter(home, "embedding").days(datetime.now(timezone.utc))
    assert [one["embedding"] for one in days.values()] == [Spending(calls=tries, failed=tries)]


@pytest.mark.parametrize("mode", ["hang", "drip"])
def test_a_provider_that_never_ends_its_answer_is_left(mode: str, stand_in: Provider, home: Path) -> None:
    stand_in.modes = [mode]
    with pytest.raises(LlmError) as error:
        Embedder(settings(stand_in, timeout_seconds=1), KEY, home, pauses=()).embed(["x"])

    assert error.value.kind == "slow"


def test_a_redirect_is_not_followed(stand_in: Provider, home: Path) -> None:
    with provider() as other:
        stand_in.elsewhere, stand_in.modes = f"{other.base('openai')}/embeddings", ["moved"]
        with pytest.raises(LlmError):
            Embedder(settings(stand_in), KEY, home, pauses=()).embed(["x"])

        assert other.asked == []


def test_what_is_missing_is_said(stand_in: Provider, home: Path) -> None:
    for told, kind, words in (
        ({}, "unset", r"set provider and model under \[embedding\]"),
        ({"provider": "voyage"}, "unset", "say which one of voyage's"),
        ({"provider": "openai-compatible", "model": "m"}, "unset", "base_url"),
        ({"provider": "voyage", "model": "m"}, "key", "VOYAGE_API_KEY is not set"),
    ):
        with pytest.raises(LlmError, match=words) as error:
            Embedder(EmbeddingConfig.model_validate(told), "", home).embed(["x"])
        assert error.value.kind == kind


def test_the_short_names_of_the_variables_are_known(tmp_path: Path) -> None:
    env = {
        "AI_MEMORY_EMBEDDING_PROVIDER": "voyage",
        "AI_MEMORY_EMBEDDING_MODEL": "m",
        "AI_MEMORY_EMBEDDING_BASE_URL": "https://here/v1/",
    }
    expected = EmbeddingConfig(provider="voyage", model="m", base_url="https://here/v1")
    assert load_config(tmp_path, env).embedding == expected
    with pytest.raises(ConfigError, match="AI_MEMORY_EMBEDDING_PROVIDER"):
        load_config(tmp_path, {"AI_MEMORY_EMBEDDING_PROVIDER": "anthropic"})


# --- embedding what is new


def test_only_what_is_new_or_has_changed_is_sent(library: Library, stand_in: Provider) -> None:
    first = library.memory.embed()
    assert (first.provider, first.model, first.dimension) == ("openai-compatible", "m-1", 64)
    assert (first.rows, first.asked) == (3, 3)
    assert sorted(texts(stand_in))[0] == "Choice\nWe took postgres because sqlite locked up."

    assert library.memory.embed().asked == 0
    library.page("Choice", "We took postgres because sqlite locked up.", path="notes/0001.md")  # written anew, the same
    library.page("Office", "A puppy lives here.", path="notes/0003.md")
    stand_in.asked.clear()
    second = library.memory.embed()

    assert (second.rows, second.asked, second.removed) == (2, 1, 1)
    assert texts(stand_in) == ["Office\nA puppy lives here."]


def test_a_run_that_broke_off_goes_on_where_it_was(library: Library, stand_in: Provider) -> None:
    for number in range(embed.ROWS):
        library.page(f"More {number}", f"text {number}")
    stand_in.modes = ["ok", "key"]
    seen: list[tuple[int, int]] = []
    with pytest.raises(LlmError):
        library.memory.embed(progress=lambda _, done, total: seen.append((done, total)))
    sent = texts(stand_in)
    stand_in.modes = ["ok"]
    library.memory.embed()

    assert seen == [(0, embed.ROWS + 3), (embed.ROWS, embed.ROWS + 3)]
    assert len(sent) == embed.ROWS + 3
    assert sorted(texts(stand_in)[len(sent) :]) == sorted(sent[embed.ROWS :])


def test_texts_are_sent_in_batches_and_long_ones_in_pieces(library: Library, stand_in: Provider) -> None:
    body = "\n\n".join(f"Paragraph {number} of a long page. " + "word " * 60 for number in range(100))
    library.page("Long", body)
    library.memory.embed()

    assert {len(asked.body["input"]) for asked in stand_in.asked[:-1]} == {embed.BATCH}
    pieces = [text for text in texts(stand_in) if text.startswith("Long\n")]
    assert len(pieces) == 100
    assert max(map(len, pieces)) < 600


def test_a_text_that_the_model_does_not_take_keeps_no_other_from_it(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    library.page("Bad", "unspeakable")
    library.page("Good", "fine")
    stand_in.modes = ["request", "request", "ok"]  # both, the one alone, the other alone
    done = library.memory.embed()

    assert (done.rows, done.asked, done.refused) == (2, 1, 1)
    assert library.memory.embed().rows == 0


def test_a_model_that_takes_nothing_at_all_is_an_error(library: Library, stand_in: Provider) -> None:
    stand_in.modes = ["request"]
    with pytest.raises(LlmError, match="does not take the request"):
        library.memory.embed()


def test_another_length_of_the_vectors_is_another_model(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    stand_in.vector = lambda text: [1.0, 2.0, 3.0]
    library.page("More", "about postgres")
    with pytest.raises(LlmError, match=r"embed --again"):
        library.memory.embed()
    assert "changed" in library.ask("which database").searched

    assert library.memory.embed(again=True).dimension == 3


def test_what_goes_out_is_redacted(library: Library, stand_in: Provider) -> None:
    library.page("Keys", f"the token is {SECRET}")
    library.memory.embed()
    library.ask(f"what is {SECRET} for")

    assert "[REDACTED" in texts(stand_in)[0]
    assert len(stand_in.asked) == 2
    assert not [text for text in texts(stand_in) if SECRET in text]


def test_pages_that_search_hides_are_not_sent(library: Library, stand_in: Provider) -> None:
    library.page("List", "of pages", kind="index", path="index.md")
    library.page("Findings", "of lint", kind="lint", path="_lint/report.md")
    library.memory.embed()

    assert not [text for text in texts(stand_in) if text.startswith(("List", "Findings", "one"))]
    assert not library.memory.embedding_is_due()


def test_of_observations_the_newest_are_embedded(library: Library, stand_in: Provider) -> None:
    for number in range(5):
        library.seen(f"observation {number}")
    again(library, observations=2).memory.embed()

    assert [text for text in texts(stand_in) if text.startswith("obs")] == ["observation 4", "observation 3"]


def test_an_index_built_anew_asks_for_nothing_again(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    stand_in.asked.clear()
    library.memory.reindex()

    assert titles(library.ask("which database"))[:1] == ["Choice"]
    assert library.memory.embed().asked == 0


def test_what_is_gone_leaves_no_vector(library: Library) -> None:
    library.memory.embed()
    with library.memory.res.index.write() as db:
        db.execute("DELETE FROM passages WHERE text LIKE '%postgres%'")

    assert embed.forget_unused(library.memory.res) == 1
    with closing(sqlite3.connect(library.base / "memory" / "vectors.db")) as db:
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (2,)


def test_two_do_not_embed_at_once(library: Library, stand_in: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed, "PATIENCE", 0.0)
    with embed.lock(library.memory.res, 0.0):
        assert library.memory.embed_waiting() is None
        with pytest.raises(BusyError):
            library.memory.embed()

    assert stand_in.asked == []


# --- the worker


def test_the_worker_embeds_new_pages_and_nothing_else_does(
    stand_in: Provider, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home).mkdir(mode=0o700)
    (home / "config.toml").write_text(
        f'[embedding]\nprovider = "openai-compatible"\nmodel = "m-1"\nbase_url = "{stand_in.base("openai")}"\n'
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".ai-memory.toml").write_text('project = "one"\n')
    (home / "llm").mkdir()
    (home / "llm" / "woken").touch()  # no worker is started beside this
    main(["write", "Choice", "--body", "We took postgres."])
    main(["search", "which database"])
    assert stand_in.asked == []

    main(["ingest", "--quiet"])
    assert texts(stand_in) == ["Choice\nWe took postgres."]
    main(["ingest", "--quiet"])
    assert len(stand_in.asked) == 1


def test_the_worker_leaves_alone_what_cannot_be_asked_or_is_another_models(
    library: Library, stand_in: Provider
) -> None:
    assert library.memory.embedding_is_due()
    assert not again(library, automatic=False).memory.embedding_is_due()
    assert not again(library, automatic=True, daily_tokens=0).memory.embedding_is_due()
    assert not again(library, daily_tokens=10**6, provider="voyage").memory.embedding_is_due()  # without a key
    again(library, provider="openai-compatible").memory.embed_waiting()
    assert not library.memory.embedding_is_due()
    library.page("New", "page")
    assert library.memory.embedding_is_due()

    assert not again(library, model="m-2").memory.embedding_is_due()
    again(library, model="m-1")
    stand_in.modes = ["key"]
    assert library.memory.embed_waiting() is None
    assert not library.memory.embedding_is_due()  # it is left alone for a while
    assert len(stand_in.asked) == 2


# --- search


def test_what_says_the_same_in_other_words_is_found(library: Library) -> None:
    assert titles(library.ask("database")) == []
    library.memory.embed()
    found = library.ask("database storage")

    assert titles(found) == ["Choice"]
    assert found.hits[0].why == "close in meaning"
    assert found.hits[0].snippet == "We took postgres because sqlite locked up."
    assert found.searched == "pages and observations of one, by words and meaning"


def test_what_is_not_close_needs_a_word(library: Library) -> None:
    library.memory.embed()

    assert titles(library.ask("weather forecast")) == []
    assert titles(library.ask("train to the weather")) == ["Fridays"]


def test_meaning_moves_what_has_the_words(library: Library) -> None:
    library.page("Table one", "which table holds them: lunch")
    library.page("Table two", "which table holds them: rows persisted by postgres")
    library.page("Table three", "which table holds them: dinner")
    question = "which table holds what is persisted in storage"
    library.memory.embed()
    found = library.ask(question)

    assert titles(found)[0] == "Table two"
    assert "close in meaning" in found.hits[0].why
    assert "close in meaning" not in found.hits[1].why


def test_a_part_switched_off_asks_nobody(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    stand_in.asked.clear()
    res = library.memory.res
    config = Config(embedding=res.config.embedding, search=SearchConfig(without=("meaning",)))
    library.memory = LocalMemory(replace(res, config=config))

    assert titles(library.ask("database")) == []
    assert stand_in.asked == []


def test_observations_are_found_by_meaning_with_what_they_are(library: Library) -> None:
    seen = library.seen("the puppy ate my homework", agent="codex")
    library.memory.embed()
    found = library.ask("animals kind:observation")

    assert [(hit.id, hit.why) for hit in found.hits] == [(seen, "seen in a session, close in meaning")]
    assert titles(library.ask("animals", kinds=("observation",))) == ["the puppy ate my homework"]
    assert titles(library.ask("animals kind:stop")) == []


def test_filters_hold_for_what_is_found_by_meaning(library: Library) -> None:
    library.page("Other", "The rows are persisted.", name="two")
    library.page("Ruled", "Rows are persisted.", kind="decision", agent="codex", path="decisions/a.md")
    library.page("Old", "sqlite was it.", updated=NOW - timedelta(days=400))
    library.memory.embed()
    both = {"Choice", "Ruled", "Old"}

    assert set(titles(library.ask("database"))) == both
    assert titles(library.ask("database", name="two")) == ["Other"]
    assert set(titles(library.ask("database", name="", everywhere=True))) == {*both, "Other"}
    assert titles(library.ask("database kind:decision")) == ["Ruled"]
    assert titles(library.ask("database", kinds=("decision",))) == ["Ruled"]
    assert titles(library.ask("database agent:codex")) == ["Ruled"]
    assert titles(library.ask("database path:decisions/")) == ["Ruled"]
    assert titles(library.ask("database before:2026-01-01")) == ["Old"]
    assert set(titles(library.ask("database after:2026-01-01"))) == {"Choice", "Ruled"}
    assert titles(library.ask('database "rows are"')) == ["Ruled"]
    assert "nothing has the quoted words together" in library.ask('"database storage"').hint


def test_what_is_superseded_stands_below_what_is_current(library: Library) -> None:
    library.page("Before", "sqlite storage for all rows", status="superseded", superseded_by="notes/0001.md")
    library.memory.embed()

    assert titles(library.ask("database")) == ["Choice", "Before"]


def test_the_budget_holds(library: Library) -> None:
    for number in range(30):
        library.page(f"Storage {number}", "postgres rows " * 60)
    library.memory.embed()
    for budget in (100, 200, 1000):
        assert tokens(render.answer(library.ask("database", max_tokens=budget))) <= budget


def test_a_word_that_nothing_has_is_still_read_as_the_nearest_one(library: Library) -> None:
    library.memory.embed()
    found = library.ask("postgers storage")

    assert "read 'postgres' for 'postgers'" in found.hint
    assert titles(found) == ["Choice"]


# --- when it does not come


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("hang", "did not answer in time"),
        ("drip", "did not answer in time"),
        ("down", "did not answer"),
        ("error", "did not answer"),
        ("html", "did not answer"),
        ("garbage", "did not answer"),
        ("limited", "did not answer"),
        ("key", "key is missing or not accepted"),
        ("unknown", "has changed or is not there"),
    ],
)
def test_without_an_answer_search_goes_by_words(mode: str, note: str, library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    again(library, wait_ms=300 if mode in ("hang", "drip") else 10_000)
    stand_in.modes = [mode]
    found = library.ask(f"the train, {mode}")

    assert titles(found) == ["Fridays"]
    assert "by words alone: the embedding model" in found.searched
    assert note in found.searched


def test_after_failures_in_a_row_questions_are_not_sent(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    stand_in.asked.clear()
    stand_in.modes = ["error"]
    for number in range(5):
        found = library.ask(f"train {number}")

    assert len(stand_in.asked) == 3
    assert "left alone for a while" in found.searched
    day = next(iter(Meter(library.base / "memory", "embedding").days(datetime.now(timezone.utc)).values()))
    assert (day["search"].calls, day["search"].failed) == (3, 3)


def test_a_question_asked_again_is_not_sent_again(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    stand_in.asked.clear()
    for _ in range(3):
        library.ask("the same database")

    assert len(stand_in.asked) == 1


def test_when_the_days_tokens_are_spent_nobody_is_asked(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    again(library, daily_tokens=1)
    stand_in.asked.clear()
    assert "tokens for today are spent" in library.ask("which database then").searched
    library.page("New", "page")
    with pytest.raises(LlmError, match=r"daily_tokens under \[embedding\]"):
        library.memory.embed()

    assert stand_in.asked == []


def test_another_models_vectors_are_not_used_and_that_is_told(library: Library, stand_in: Provider) -> None:
    library.memory.embed()
    again(library, model="m-2")
    stand_in.asked.clear()
    found = library.ask("database")

    assert titles(found) == []
    assert stand_in.asked == []
    assert "is of another model" in found.searched
    status = library.memory.status(Scope()).embedding
    assert status is not None
    assert "openai-compatible m-1 (64 numbers) and not used" in status.problem
    res = library.memory.res
    told = examine(res, [], env={}, cwd="", python=sys.executable, now=datetime.now(timezone.utc))
    assert [one.fix for one in told if one.level == "warning" and "m-1 (64 numbers)" in one.message] == [embed.COMMAND]

    assert library.memory.embed().asked == 3
    assert titles(library.ask("database")) == ["Choice"]
    again(library, model="m-1")
    assert library.memory.embed().asked == 0  # they are kept


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_file_of_vectors_that_is_gone_or_damaged_keeps_no_search(harm: str, library: Library) -> None:
    library.memory.embed()
    file = library.base / "memory" / "vectors.db"
    file.unlink() if harm == "gone" else file.write_bytes(b"x" * 40_000)

    assert titles(library.ask("database")) == []
    assert titles(library.ask("the train")) == ["Fridays"]
    res = library.memory.res
    told = examine(res, [], env={}, cwd="", python=sys.executable, now=datetime.now(timezone.utc))
    assert [one for one in told if one.level == "warning" and "vectors.db" in one.message]
    file.unlink(missing_ok=True)
    assert library.memory.embed().asked == 3
    assert titles(library.ask("database")) == ["Choice"]


# --- what is told


def test_the_command_embeds_and_status_and_doctor_tell(
    stand_in: Provider, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AI_MEMORY_EMBEDDING__AUTOMATIC", "false")
    assert main(["embed"]) == 1
    assert "set provider and model under [embedding]" in capsys.readouterr().err
    for name, value in {"PROVIDER": "openai-compatible", "MODEL": "m-1", "BASE_URL": stand_in.base("openai")}.items():
        monkeypatch.setenv(f"AI_MEMORY_EMBEDDING_{name}", value)
    (tmp_path / ".ai-memory.toml").write_text('project = "one"\n')
    main(["write", "Choice", "--body", "We took postgres."])
    main(["doctor"])
    assert "search goes by words alone: nothing is embedded yet" in capsys.readouterr().out

    assert main(["embed"]) == 0
    assert "1 passages and observations embedded by m-1, 64 numbers each" in capsys.readouterr().out
    assert main(["embed", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["asked"] == 0
    main(["status"])
    told = capsys.readouterr().out
    assert "embedding openai-compatible m-1: 1 passages and observations; 6 of 5,000,000 tokens today" in told
    assert "embedding: 1 calls, 6 in" in told
    main(["doctor", "--llm"])
    told = capsys.readouterr().out
    assert f"m-1 at {stand_in.base('openai')} has embedded 1 passages and observations" in told
    assert f"m-1 at {stand_in.base('openai')} answers with 64 numbers in" in told


def test_doctor_says_what_hinders_the_model(stand_in: Provider, own_home: Path, home: Path) -> None:
    home.mkdir(mode=0o700)
    res = Resources.at(home, str(own_home), Config(embedding=settings(stand_in)))
    stand_in.modes = ["key"]
    found = try_embedding(res, {})

    assert (found.level, "does not accept the key" in found.message) == ("error", True)


def test_without_a_provider_nothing_of_it_is_told(
    home: Path, memory: LocalMemory, capsys: pytest.CaptureFixture[str]
) -> None:
    assert memory.status(Scope()).embedding is None
    main(["status"])
    main(["doctor"])
    assert "embedding" not in capsys.readouterr().out
    assert not (home / "vectors.db").exists()


def test_a_client_is_told_where_its_memory_is_embedded(
    url: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AI_MEMORY_SERVER_URL", url)
    assert main(["embed"]) == 1
    assert f"the memory is embedded where it is, at {url}" in capsys.readouterr().err
