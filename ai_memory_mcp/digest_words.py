"""What the words of a session tell: goal, decisions with their reasons, dead ends, open questions, next steps.

Headings and marker words only, in English and Chinese/Japanese; nothing is inferred, and what is taken keeps its language.
"""

# ruff: noqa: E501 - patterns, word lists and tables of them are easier to check on one line
from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from ai_memory_mcp.prose import Section, clean, clip, distinct, plain_text, sections, sentences

Topic = Literal["next", "questions", "decisions", "failed", "skip", "goal", "done"]
ITEM_LIMIT = 400
LIST_LIMIT = 12

_TOPICS: tuple[tuple[Topic, re.Pattern[str]], ...] = (
    ("goal", re.compile(r"primary request|user'?s? (?:request|goal|intent)|^(?:goal|objective|task)$|用户(?:请求|需求)|目标", re.I)),
    ("next", re.compile(r"next (?:step|action)|remaining|to-?dos?\b|follow[- ]?ups?|left (?:to do|over)|not (?:yet )?done|what'?s left|what is left|outstanding|pending|still (?:open|missing|to)|future work|before merg|下一步|待办|剩余|后续|未完成|次の|残り|TODO", re.I)),
    ("questions", re.compile(r"question|decisions? (?:needed|required)|need(?:s|ed)? (?:your )?(?:input|decision|clarif)|unclear|问题待|待确认|疑问|質問|确认", re.I)),
    ("failed", re.compile(r"fail|errors? and fix|did(?:n'?t| not) work|dead ends?|tried|known issues?|limitation|caveat|pitfall|gotcha|失败|错误|踩坑|已知问题", re.I)),
    ("decisions", re.compile(r"decision|design|rationale|why\b|trade-?offs?|choices?|approach|reasoning|adaptation|决定|决策|设计|原因|方案|判断", re.I)),
    ("skip", re.compile(r"all user messages|key technical concepts|current work|files? and code|files? (?:changed|modified|created|touched)|modified files|changed files|how to (?:run|use|test|verify)|usage|commands?$|修改的文件|文件", re.I)),
)  # fmt: skip

_CHOICE = re.compile(
    r"\binstead of\b|\brather than\b|\bin favou?r of\b|\bdecided\b|\bchose\b|\bopted\b|\bwent with\b|\bgoing with\b|\bsettled on\b|\btrade-?off"
    r"|\b(?:kept|keep|use[ds]?|using|switch\w*|moved?|made|avoid\w*|skip\w*|left|leave|not|didn't|replac\w*|dropp?\w*|need\w*|pinn?\w*|disabl\w*|reject\w*)\b.{0,120}\bbecause\b|\bdeliberately\b|\bon purpose\b|\bintentionally\b"
    r"|决定|选择|改用|采用|而不是|而非|故意|の代わりに|採用|に決め",
    re.I,
)
_ORDER = re.compile(
    r"^(?:no[,. ]|don'?t |do not |never |always |stop |please (?:don'?t|use|keep|avoid)|use |keep |prefer |let'?s (?:use|go with|keep|not)|actually[, ]|revert|instead[, ]|not )|\binstead of\b|\brather than\b|\b(?:must|should) (?:not|never|always|be|stay|only)\b|不要|必须|改用|别用|改成|应该|しないで|ではなく",
    re.I,
)
_DEAD_END = re.compile(
    r"\b(?:did(?:n'?t| not)|does(?:n'?t| not)|won'?t|would not|wouldn'?t) work\b|\bfailed because\b|\bdead end\b|\brolled? back\b|\breverted\b|\babandon|\bgave up\b|\bhad no effect\b|\bbut (?:that|this|it) (?:broke|failed|made|did(?:n\'t| not)|was(?:n\'t| not)|caused)\b|\bmade (?:it|things) worse\b|\btried .{3,160}\bbut\b|\bfirst attempt\b|\bwas(?:n'?t| not) (?:the cause|enough|possible)\b|行不通|不可行|没有效果|回滚|失败了|うまくいかな",
    re.I,
)
_AHEAD = re.compile(
    r"\bnext step|^next(?: up)?\s*[:,]|\bnext (?:thing|task)\b|\bremain(?:s|ing)\b(?!.{0,20}\bunchanged)|\bstill (?:need|needs|to do|missing|open|fail)|\bnot (?:yet )?(?:implemented|done|tested|verified|covered|finished|deployed|committed|pushed|wired)\b|\bhaven'?t (?:yet )?\b|\byet to\b|\bTODO\b|\bleft (?:to do|for later|undone)\b|\byou(?:'ll| will|'d)? (?:still )?(?:need|have) to\b|\bfollow-up\b|\bup next\b|\bonce you\b|\bbefore (?:merging|releas|deploy)|下一步|还需要|尚未|待完成|剩下|接下来|まだ|次に",
    re.I,
)
_QUESTION = re.compile(r"[?？]\s*[\"')）]*$")
_RHETORIC = re.compile(r"^(?:why|how|what|sound good|make sense|right|ok|ready)\W*[?？]$", re.I)
_UNRESOLVED = re.compile(r"^if you(?:'|’)?d? (?:want|would like|like|prefer)\b|\b(?:not sure|unsure|unclear|please (?:confirm|decide|advise)|up to you|your call|waiting (?:for|on) (?:you|your))\b|请确认|需要你|不确定", re.I)  # fmt: skip


def topic_of(section: Section) -> Topic:
    """Say what a section of a message is about, by its heading."""
    for topic, pattern in _TOPICS:
        if section.heading and pattern.search(section.heading):
            return topic
    return "done"


def about(messages: Sequence[str], topic: Topic) -> list[str]:
    """Return the items (else the paragraphs) of all sections on a topic, in order."""
    found: list[str] = []
    for message in messages:
        for section in sections(message):
            if topic_of(section) == topic:
                found += section.items or section.paragraphs
    return [text for text in found if not re.match(r"(?:none|n/a|nothing|无)\b", text, re.I)]


def _said(messages: Sequence[str]) -> list[str]:
    return [s for message in messages for line in plain_text(message).splitlines() for s in sentences(line)]


def decisions(messages: Sequence[str], later_prompts: Sequence[str]) -> tuple[str, ...]:
    """Return what was decided: sections so named, sentences with a choice in them, and the user's own orders."""
    orders = [
        f"The user asked: {clip(line.strip(), ITEM_LIMIT - 20)}" for prompt in later_prompts for line in _orders(prompt)
    ]
    chosen = [s for s in _said(messages) if (_CHOICE.search(s) and not _QUESTION.search(s) and len(s) >= 25) or (_cjk(s) and _CHOICE.search(s))]  # fmt: skip
    named = [text for text in about(messages, "decisions") if len(text) > 15]
    return distinct((clip(text, ITEM_LIMIT) for text in [*orders, *named, *chosen]), LIST_LIMIT)


def _cjk(text: str) -> bool:
    return bool(re.search(r"[\u3040-\u30ff\u4e00-\u9fff]", text)) and not _QUESTION.search(text)


def _orders(prompt: str) -> list[str]:
    said = [s for line in prompt.splitlines()[:20] if not line.startswith((" ", "\t", ">")) for s in sentences(line)]
    return [s for s in said if _ORDER.search(s) and 8 <= len(s) <= 300 and not _QUESTION.search(s)][:3]


def dead_ends(messages: Sequence[str]) -> tuple[str, ...]:
    """Return sentences and sections that tell what was tried and did not work."""
    named = about(messages, "failed")
    said = [s for s in _said(messages) if _DEAD_END.search(s) and len(s) > 20]
    return distinct((clip(text, ITEM_LIMIT) for text in [*named, *said]), LIST_LIMIT)


def next_steps(last: str) -> list[str]:
    """Return what the last message leaves to do: its sections so named, else its sentences about what is ahead."""
    named = about([last], "next")
    if named:
        return named
    return [s for s in _said([last]) if _AHEAD.search(s) and not _QUESTION.search(s)][:4]


def questions(last: str) -> list[str]:
    """Return what the last message asks of the user."""
    said = _said([last])
    asked = [s for s in said if (_QUESTION.search(s) and not _RHETORIC.match(s) and 10 <= len(s) <= ITEM_LIMIT) or (_cjk_asked(s))]  # fmt: skip
    doubts = [s for s in said if _UNRESOLVED.search(s) and not _QUESTION.search(s)]
    return [*about([last], "questions"), *asked[-4:], *doubts[:2]]


def _cjk_asked(text: str) -> bool:
    return bool(re.search(r"[\u3040-\u9fff]", text)) and bool(_QUESTION.search(text))


# --- the goal ---

_TASK = re.compile(r"<(pr_description|issue_description|issue|task|task_description|user_query|user_request|objective|request|problem_statement|instructions?)>\s*(.+?)\s*</\1>", re.S)  # fmt: skip
_IDE = re.compile(r"^#{1,3} My request[^\n]*:?\s*\n+(.+)", re.S | re.M)
_SHORT = re.compile(
    r"^(?:y|yes|yep|ok(?:ay)?|sure|go|go ahead|continue|proceed|do it|please(?: do| continue)?|next|great|thanks?|thank you|nice|good|perfect|lgtm|hi|hello|hey|test|retry|try again|again|keep going|go on|commit(?: it| this| that)?|yes please|no|stop|done\?|继续|好的?|可以|是的?|はい|続けて|[1-9a-d])[\s.!,]*(?:please|thanks|do it|go ahead|continue)?[\s.!]*$",
    re.I,
)


_RESUME = re.compile(
    r"^(?:(?:ok(?:ay)?|yes|please|now|just|let'?s|can you|could you)[\s,]+)*(?:continue|go on|carry on|keep going|proceed|resume|pick (?:it |this )?up"
    r"|weiter|继续|接着|続け)\b[^.?!:\n]{0,60}[.!]?$",
    re.I,
)


def is_course(prompt: str) -> bool:
    """Return whether a prompt says something: neither empty nor a mere "yes", "thanks", "continue where we were"."""
    said = prompt.strip()
    return bool(said) and not _SHORT.match(said) and not (len(said) < 80 and _RESUME.match(said))


def request(prompt: str) -> str:
    """Return the request inside a prompt: without IDE context, or what stands in an issue or task tag."""
    ide = list(_IDE.finditer(prompt))
    if ide:
        return ide[-1].group(1).strip()
    inner = _TASK.search(prompt)
    return inner.group(2).strip() if inner and len(inner.group(2)) > 15 else prompt.strip()


_POLITE = re.compile(r"^(?:(?:hi|hey|hello)[ ,!]+(?:there|claude|codex)?[ ,!.]*|(?:can|could|would|will) you (?:please )?|please |pls |i(?:'d| would) (?:like|want) (?:you )?to |i (?:want|need) (?:you )?to |let'?s |help me (?:to )?|ok(?:ay)?[, ]+|请(?:你)?|帮我)+", re.I)  # fmt: skip


def headline(goal: str, limit: int) -> str:
    """Return a title for a goal: its first telling line, to the end of the first sentence."""
    lines = [
        line for line in goal.splitlines() if re.search(r"\w", line) and not line.lstrip().startswith(("```", "<"))
    ]
    first = clean(re.sub(r"^[#>\-*\s]+", "", (lines or [goal])[0])) or (lines or [goal])[0]
    said = sentences(first)
    short = _POLITE.sub("", said[0] if said else first) or first
    if len(short) < 12 and len(said) > 1:
        short = f"{short} {said[1]}"
    short = short.rstrip(".。:： ")
    return clip(short[:1].upper() + short[1:], limit)
