"""The routes beside `/api`: the public keys, the API's description, and two pages."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, Final

import orjson
from aiohttp import web

from chat_api.accounts.signing_keys import SigningKeys
from chat_api.http.endpoints import Endpoints, answer
from chat_api.http.openapi import openapi

_INLINE: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_NONE: Final = "'none'"
_JWKS_HEADERS: Final = {"Cache-Control": "public, max-age=300"}


def page_routes(
    groups: Sequence[Endpoints], *, keys: SigningKeys, version: str, api_url: str, gateway_url: str
) -> list[web.RouteDef]:
    """Declares `/.well-known/jwks.json`, `/openapi.json`, `/docs` and `/`; open to everybody."""
    description = orjson.dumps(openapi(groups, version=version))
    landing = _Page("landing.html", {"api": api_url, "gateway": gateway_url})
    docs = _Page("docs.html", {})

    async def jwks(_: web.Request) -> web.Response:
        return answer(200, keys.ring.jwks, _JWKS_HEADERS)

    async def described(_: web.Request) -> web.Response:
        return answer(200, description)

    return [
        web.get("/.well-known/jwks.json", jwks),
        web.get("/openapi.json", described),
        web.get("/docs", docs.show),
        web.get("/", landing.show),
    ]


class _Page:
    """A page of this package that loads nothing from elsewhere, which its headers have browsers enforce."""

    def __init__(self, name: str, values: Mapping[str, Any]) -> None:
        html = (files("chat_api") / "pages" / name).read_text("utf-8")
        for key, value in values.items():
            html = html.replace(f"{{{key}}}", escape(str(value)))
        self._html = html.encode()
        self._headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Security-Policy": _content_security_policy(html),
            "X-Content-Type-Options": "nosniff",
        }

    async def show(self, _: web.Request) -> web.Response:
        return web.Response(body=self._html, headers=self._headers)


def _content_security_policy(html: str) -> str:
    """Returns a policy that allows what stands in the page, by its hash, and fetches of this origin."""
    hashes: dict[str, list[str]] = {"script": [], "style": []}
    for kind, text in _INLINE.findall(html):
        digest = b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes[kind].append(f"'sha256-{digest}'")
    sources = "; ".join(f"{kind}-src {' '.join(found or [_NONE])}" for kind, found in hashes.items())
    return f"default-src 'none'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'; {sources}"
