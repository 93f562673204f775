"""Errors as answers: one of the three translators of errors. Clients get JSON, a browser a page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ai_memory_mcp.errors import (
    AccessError,
    AiMemoryError,
    ConfigError,
    ConflictError,
    InputError,
    LlmError,
    NotFoundError,
    ProjectError,
    StorageError,
)
from ai_memory_mcp.server.access import malformed
from ai_memory_mcp.server.guard import Busy, busy, refusal
from ai_memory_mcp.server.logins import is_page

STATUS: dict[type[AiMemoryError], int] = {
    AccessError: 403,
    ConfigError: 500,
    ConflictError: 409,
    InputError: 400,
    LlmError: 502,
    NotFoundError: 404,
    ProjectError: 404,
    StorageError: 503,
}


def _refused(
    request: Request, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
) -> Response:
    if is_page(request.url.path):
        from ai_memory_mcp.server.web.answers import error_page

        return error_page(request, status, message)
    return refusal(status, code, message, **(headers or {}))


async def _told(request: Request, error: AiMemoryError) -> Response:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    return _refused(request, status, error.code, str(error))


async def _full(request: Request, error: Busy) -> Response:
    return busy(error.seconds)


async def _malformed(request: Request, error: ValidationError) -> Response:
    return _refused(request, 400, InputError.code, malformed(error))


async def _not_there(request: Request, error: HTTPException) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _refused(request, error.status_code, "route", message, error.headers)


async def _unexpected(request: Request, error: Exception) -> Response:  # Starlette raises it again, for the log
    message = f"unexpected {type(error).__name__} in the server; its log has the details"
    return _refused(request, 500, "unexpected", message)


HANDLERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {  # async, else each takes a thread
    AiMemoryError: _told,
    ValidationError: _malformed,
    Busy: _full,
    HTTPException: _not_there,
    Exception: _unexpected,
}
