"""The errors a person can act on. Everything else is a bug and ends in the log.

    AiMemoryError
    ├── ConfigError        a settings file of ours does not parse or holds a wrong value
    ├── ProjectError       the project cannot be resolved, or the named one does not exist
    ├── NotFoundError      no such page, session or handoff
    ├── InputError         an argument is not acceptable (path outside the wiki, empty page …)
    ├── ConflictError      somebody else was first (handoff accepted, page changed meanwhile)
    ├── StorageError       the disk, a lock or a repository refused
    │   └── BusyError      somebody else holds a lock for longer than one can wait
    ├── ServerError        the server cannot be reached, or does not answer as one of ours
    ├── AccessError        the server does not let this token do that
    ├── InstallError       an agent's settings file cannot be changed safely
    ├── SyncError          a git remote cannot be reached, refused, or holds something else
    ├── LlmError           the language model is not set up, did not answer, or may not be asked now
    └── UpgradeError       the installer offers nothing, refused, or left something else behind

Every message says what happened and what to do. Three translators only: cli, server http, server mcp.
"""


class AiMemoryError(Exception):
    """Base of all errors a person can act on; `code` is the stable name used on the wire."""

    code = "error"


class ConfigError(AiMemoryError):
    """A settings file of ours does not parse or holds a wrong value."""

    code = "config"


class ProjectError(AiMemoryError):
    """The project cannot be resolved, or the named one does not exist."""

    code = "project"


class NotFoundError(AiMemoryError):
    """There is no such page, session or handoff."""

    code = "not_found"


class InputError(AiMemoryError):
    """An argument is not acceptable."""

    code = "input"


class ConflictError(AiMemoryError):
    """Somebody else was first."""

    code = "conflict"


class StorageError(AiMemoryError):
    """The disk, a lock or a repository refused."""

    code = "storage"


class BusyError(StorageError):
    """Somebody else holds a lock for longer than one can wait."""


class ServerError(AiMemoryError):
    """The server cannot be reached, or does not answer as one of ours."""

    code = "server"


class AccessError(AiMemoryError):
    """The server does not let this token do that."""

    code = "access"


class InstallError(AiMemoryError):
    """An agent's settings file cannot be changed safely."""

    code = "install"


class SyncError(AiMemoryError):
    """A git remote cannot be reached, refused, or holds something else."""

    code = "sync"


class LlmError(AiMemoryError):
    """The language model is not set up, did not answer, or may not be asked now.

    `kind` is one of: unset, missing (litellm), key, model, down, slow, limited, refused, truncated, garbage, language
    (not that of the source), request, capped, paused. `wait` is the number of seconds the provider asks to be left
    alone, 0 when it did not say.
    """

    code = "llm"

    def __init__(self, message: str, kind: str = "request", wait: float = 0.0) -> None:
        super().__init__(message)
        self.kind = kind
        self.wait = wait


class UpgradeError(AiMemoryError):
    """The installer offers nothing, refused, or left something else behind."""

    code = "upgrade"
