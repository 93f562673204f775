"""What a language model is told of a session, and the form of its answer. Texts of the answer are not to be trusted:
`consolidate_check` decides what of them may stand in a page."""

from __future__ import annotations

from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ai_memory_mcp.model import Page

LASTING = ("decision", "gotcha", "procedure", "concept")  # the kinds that a model may write


class Related(NamedTuple):
    """A page that the session may have to do with: `text` is the file, `ours` says that a model wrote it last."""

    page: Page
    text: str
    ours: bool

    @property
    def changeable(self) -> bool:
        """Whether a model's page may take its place."""
        return self.page.kind in (*LASTING, "note") and not self.page.pinned and self.page.status == "current"


class _Part(BaseModel):
    """Lenient: unknown keys and nulls are passed over, what a text or list should be must be one."""

    model_config = ConfigDict(extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, told: Any) -> Any:
        return {key: value for key, value in told.items() if value is not None} if isinstance(told, dict) else told


class PageAnswer(_Part):
    """One page of lasting knowledge."""

    kind: str = Field(default="", description="decision, gotcha, procedure or concept")
    title: str = Field(default="", description="What it is about, under 80 characters.")
    body: str = Field(default="", description="Markdown without the title: what holds, why, and the evidence.")
    tags: list[str] = Field(default_factory=list, description="Up to 5 keywords.")
    updates: str = Field(
        default="", description='Path of the given page that this one takes the place of, whole; "" for a new page.'
    )
    supersedes: list[str] = Field(
        default_factory=list, description="Paths of other given pages that are outdated by this one."
    )
    see_also: list[str] = Field(
        default_factory=list, description="Paths of given pages, or titles of other pages of this answer, to link to."
    )


class ProposalAnswer(_Part):
    """A change to a rule or a pinned page, for a person to decide on."""

    about: str = Field(default="", description="Path of the given page.")
    title: str = Field(default="", description="The change in a few words.")
    body: str = Field(default="", description="What should be changed, and why.")


class Answer(_Part):
    """What the session came to."""

    headline: str = Field(default="", description="What the session was about, under 80 characters.")
    outcome: list[str] = Field(default_factory=list, description="One to three sentences: what it came to.")
    done: list[str] = Field(default_factory=list, description="What was done, one item each.")
    decisions: list[str] = Field(default_factory=list, description="What was decided and why, one item each.")
    did_not_work: list[str] = Field(
        default_factory=list, description="What was tried and failed, with the error, and what helped instead."
    )
    open_questions: list[str] = Field(default_factory=list, description="What nobody has answered yet.")
    next_steps: list[str] = Field(default_factory=list, description="What is left to do, in order.")
    pages: list[PageAnswer] = Field(default_factory=list, description="Lasting knowledge; often none, at most 5.")
    proposals: list[ProposalAnswer] = Field(default_factory=list, description="Usually none, at most 2.")

    def words(self) -> str:
        """Return what the session's own page would say."""
        lists = (self.outcome, self.done, self.decisions, self.did_not_work, self.open_questions, self.next_steps)
        return "\n\n".join([self.headline, *(line for lines in lists for line in lines)])
