"""Pages as answers: what stands round each one, its headers, and the reader's choice of light or dark."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from ai_memory_mcp.server.access import EVERYBODY, Access
from ai_memory_mcp.server.logins import WEB, cookie_name
from ai_memory_mcp.server.web import templates

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",  # a form that is sent tells its origin, and other sites hear nothing
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "private, no-cache",
}
THEMES = ("system", "light", "dark")
YEAR = 365 * 86_400
TITLES = {400: "That cannot be read", 401: "Not logged in", 403: "Not allowed", 404: "Not found", 503: "Not now"}


def theme_of(request: Request) -> str:
    """Return the reader's choice: light, dark or what the system says."""
    told = request.cookies.get("ai-memory-theme", "")
    return told if told in THEMES else "system"


def frame(request: Request) -> dict[str, Any]:
    """Return what every template needs to know of the request."""
    access: Access | None = getattr(request.state, "access", None)
    by_key = getattr(request.app.state, "by_key", False)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return {
        "theme": theme_of(request),
        "themes": THEMES,
        "back": path,
        "reader": access.name if access and access != EVERYBODY and not by_key else "",
        "inside": access is not None,
        "by_key": by_key,
        "question": request.query_params.get("q", "") if path.startswith(f"{WEB}/search") else "",
        "project": None,
    }


def answer(body: bytes, status: int = 200) -> Response:
    """Return a page."""
    return Response(body, status, dict(HEADERS), "text/html; charset=utf-8")


def error_page(request: Request, status: int, message: str) -> Response:
    """Return what went wrong as a page."""
    seen = {
        **frame(request),
        "status": status,
        "heading": TITLES.get(status, "Something went wrong"),
        "message": message,
    }
    return answer(templates.page("error.html", seen), status)


def go(address: str) -> Response:
    """Send the browser to another address."""
    return RedirectResponse(address, 303, dict(HEADERS))


def keep_theme(request: Request, told: Response, theme: str) -> None:
    """Have the browser remember the reader's choice."""
    told.set_cookie(
        "ai-memory-theme", theme, YEAR, path=WEB, httponly=True, samesite="strict", secure=_is_safe(request)
    )


def keep_session(request: Request, told: Response, cookie: str) -> None:
    """Have the browser hold a session until it ends; '' takes it back."""
    name, safe = cookie_name(request.scope), _is_safe(request)
    if cookie:
        told.set_cookie(name, cookie, path=WEB, httponly=True, samesite="strict", secure=safe)
    else:
        told.delete_cookie(name, path=WEB, httponly=True, samesite="strict", secure=safe)


def _is_safe(request: Request) -> bool:
    """Tell whether the browser came by TLS. Where a proxy takes that off, the form's origin still says it."""
    return request.url.scheme == "https" or request.headers.get("origin", "").lower().startswith("https://")
