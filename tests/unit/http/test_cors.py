"""Pages of other origins: who may call, and what preflights are told."""

from unit.http.endpoints import OWN, Ask, Failing

from chat_api.http.problems import NotFound


async def test_pages_of_own_origins_may_call(ask: Ask, failing: Failing) -> None:
    """Answers and problems say so, to them alone."""
    failing.error = NotFound()
    for method, path in (("GET", "/things"), ("PATCH", "/failing"), ("GET", "/nothing"), ("PUT", "/things")):
        got = await ask(method, path, headers={"Origin": OWN})
        assert got.headers["Access-Control-Allow-Origin"] == OWN
        assert "Origin" in got.headers["Vary"]
        exposed = got.headers["Access-Control-Expose-Headers"]
        assert {"Idempotency-Replayed", "Retry-After", "X-Request-Id"} <= set(exposed.split(", "))
        assert "Access-Control-Allow-Credentials" not in got.headers
        for origin in ("https://evil.example", "null", OWN + ".evil.example", "http://chat.example.org"):
            got = await ask(method, path, headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in got.headers


async def test_preflights_are_answered(ask: Ask) -> None:
    """204 with what may be sent, without a token."""
    headers = {"Origin": OWN, "Access-Control-Request-Method": "POST"}
    got = await ask("OPTIONS", "/things", token=None, headers=headers)
    assert got.status == 204
    assert got.headers["Access-Control-Allow-Origin"] == OWN
    allowed = set(got.headers["Access-Control-Allow-Headers"].split(", "))
    assert {"Authorization", "Content-Type", "Idempotency-Key", "X-Request-Id"} <= allowed
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(got.headers["Access-Control-Allow-Methods"].split(", "))
    got = await ask("OPTIONS", "/things", token=None, headers={**headers, "Origin": "null"})
    assert not [name for name in got.headers if name.startswith("Access-Control-Allow")]
    got = await ask("OPTIONS", "/things", token=None)
    assert (got.status, got.code) == (405, "method_not_allowed")
