"""Who may ask: the key, and the Host and Origin of a request.

A page on the web can make a browser send requests to this machine. The browser says in Origin where
they come from, and in Host which name it looked up: a name of the page's own, made to lead here
(DNS rebinding), is not one of ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from nextword.serving.errors import ApiError, error_response
from nextword.serving.page import key_form

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
COOKIE = "nextword-key"
OPEN = frozenset({"/health"})  # needs no key


@dataclass(frozen=True)
class Access:
    """Whom a server answers: those with the `key`, if there is one, under any of the `hosts`' names
    and, in browsers, from its own pages and the `origins`."""

    key: str | None = None
    hosts: frozenset[str] = LOOPBACK
    origins: frozenset[str] = frozenset()
    any_address: bool = field(default=False)  # answers under each address of this machine

    def refusal(self, scope: Scope) -> ApiError | None:
        """Return why a request is refused; None where it may be answered."""
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_ours(host):
            return ApiError(403, f"this server is not called {host!r}; name it with --allow-host")
        origin = headers.get("origin")
        is_own = origin is not None and urlsplit(origin).netloc.lower() == host.lower()
        if origin is not None and not is_own and origin not in self.origins:
            what = f"pages from {origin!r} may not ask this server; allow it with --allow-origin"
            return ApiError(403, what)
        is_asking = scope["method"] == "OPTIONS" and origin in self.origins  # without a key, always
        if self.key is None or scope["path"] in OPEN or is_asking:
            return None
        if not any(map(self._is_key, self._given(headers))):
            what = "give the server's key, as `Authorization: Bearer KEY`"
            return ApiError(401, what, code="invalid_api_key")
        return None

    def unlocked(self, scope: Scope) -> Response | None:
        """Return the answer to a page that is opened with ?key=KEY: a cookie with the key, and the
        page's address without it."""
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        given = dict(query).get("key")
        if self.key is None or scope["method"] != "GET" or given is None or not self._is_key(given):
            return None
        rest = urlencode([(name, value) for name, value in query if name != "key"])
        path = "/" + scope["path"].lstrip("/\\")  # never //elsewhere
        response = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        response.set_cookie(COOKIE, given, httponly=True, samesite="strict")
        return response

    def _given(self, headers: Headers) -> list[str]:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return [token.strip() if scheme.lower() == "bearer" else "", cookie]

    def _is_key(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), str(self.key).encode())

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self.any_address  # a page that leads a name here cannot do so with an address


def is_loopback(address: str) -> bool:
    """Whether only programs of this machine reach a server at an address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def access_for(
    address: str, key: str | None, hosts: Collection[str], origins: Collection[str]
) -> Access:
    """Return whom a server at an address answers."""
    names = LOOPBACK | {address.lower()} | {host.lower() for host in hosts}
    elsewhere = not is_loopback(address)
    if elsewhere:
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return Access(key, frozenset(names), frozenset(origins), elsewhere)


def locked(scope: Scope) -> Response | None:
    """Return the form that asks a person for the key, where it is one that opens the page."""
    accepted = Headers(scope=scope).get("accept", "")
    is_page = scope["path"] == "/" and scope["method"] == "GET" and "text/html" in accepted
    return key_form() if is_page else None


class Guard:
    """Refuses, before anything is read of a request, those that Access does."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (error := self.access.refusal(scope)) is not None:
            response: Response | JSONResponse = error_response(error)
            if error.status_code == 401:
                response = self.access.unlocked(scope) or locked(scope) or response
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)
