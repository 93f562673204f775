"""Cuts a long text in the middle. On its own because the hook process does it without importing `redact`."""

LIMIT = 16_384  # characters kept of one text


def clip(text: str, limit: int = LIMIT) -> str:
    """Head and tail of redacted `text` around a note of what was left out, `limit` characters in all."""
    if len(text) <= limit:
        return text
    room = max(2, limit - len(left_out(len(text))))
    tail = room // 2
    return text[: room - tail] + left_out(len(text) - room) + text[-tail:]


def clip_all(value: object, limit: int) -> object:
    """The same for every text in a JSON value; keys stay."""
    if isinstance(value, str):
        return clip(value, limit)
    if isinstance(value, list):
        return [clip_all(item, limit) for item in value]
    if isinstance(value, dict):
        return {key: clip_all(item, limit) for key, item in value.items()}
    return value


def left_out(count: int) -> str:
    """The note that stands where text was cut out."""
    return f"\n…[{count} characters left out]…\n"
