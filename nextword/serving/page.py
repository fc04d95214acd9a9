"""`/`: the page that opens a model, and the files it is made of. It asks the other routes itself.

The page's own policy lets in nothing from elsewhere and runs no script but its own files.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FILES = Path(__file__).parent / "page"
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",  # what a chart looks like, in a page that is saved
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # asked for again with its ETag: a new version shows at once
}


class PageFiles(StaticFiles):
    """The modules, styles and fonts of the page, with its policy."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def install(app: FastAPI) -> None:
    """Give an application the page and its files."""

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    def index() -> FileResponse:
        return FileResponse(FILES / "index.html", headers=HEADERS)

    app.mount("/page", PageFiles(directory=FILES), name="page")


def key_form() -> HTMLResponse:
    """Return what a browser is shown instead of the page while it has not given the key: a form
    that asks for it."""
    content = (FILES / "locked.html").read_text(encoding="utf-8")
    style = content.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'"
    headers = {"Content-Security-Policy": policy, "WWW-Authenticate": "Bearer"}
    return HTMLResponse(content, status_code=401, headers=headers)
