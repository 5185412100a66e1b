"""Origins: which pages may connect, over each transport, and what the answers tell browsers."""

from collections.abc import AsyncIterator

import aiohttp
import fakeredis
import orjson
import pytest
from support.gateways import RunningGateway, running_gateway
from support.raw_socket import RawSocket, TurnedAwayError

PAGE = "https://chat.example.org"
FOREIGN = (
    "https://evil.example",
    "null",
    f"{PAGE}.evil.example",
    PAGE.replace("https", "http"),
    f"{PAGE}:444",
    "",
)
POLLING = "/socket.io/?EIO=4&transport=polling"
SAYS = "Access-Control-"
each_foreign = pytest.mark.parametrize("origin", FOREIGN)


@pytest.fixture(scope="module")
async def gateway() -> AsyncIterator[RunningGateway]:
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, cors_origins=(PAGE,)) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def said(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Returns the headers that tell the browser."""
    return {name: value for name, value in response.headers.items() if name.startswith(SAYS)}


async def polled(gateway: RunningGateway, http: aiohttp.ClientSession, headers: dict[str, str]) -> str:
    """The answer to a CONNECT with a good token, over long-polling."""
    async with http.get(gateway.url + POLLING, headers=headers) as response:
        url = f"{gateway.url}{POLLING}&sid=" + orjson.loads((await response.text())[1:])["sid"]
    connect = b"40" + orjson.dumps({"token": gateway.api.token("ada")})
    async with http.post(url, data=connect, headers=headers) as response:
        assert response.status == 200
    async with http.get(url, headers=headers) as response:
        return await response.text()


@each_foreign
async def test_foreign_pages_are_refused_on_both_transports(
    gateway: RunningGateway, http: aiohttp.ClientSession, origin: str
) -> None:
    """`origin_forbidden`, though their token is good."""
    raw = await RawSocket.opened(gateway.url, headers={"Origin": origin})
    with pytest.raises(TurnedAwayError) as refused:
        await raw.connect(gateway.api.token("ada"))
    raw.abort()
    assert refused.value.code == "origin_forbidden"
    answer = await polled(gateway, http, {"Origin": origin})
    assert orjson.loads(answer[2:])["data"]["code"] == "origin_forbidden"


async def test_two_origins_are_foreign(gateway: RunningGateway) -> None:
    """Browsers send one."""
    raw = await RawSocket.opened(gateway.url, headers={"Origin": f"{PAGE}\r\nOrigin: https://evil.example"})
    with pytest.raises(TurnedAwayError) as refused:
        await raw.connect(gateway.api.token("ada"))
    raw.abort()
    assert refused.value.code == "origin_forbidden"


async def test_allowed_pages_and_programs_come_in_on_both_transports(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """The setting alone says who: where it is set, own addresses are not in it by themselves."""
    for headers in ({}, {"Origin": PAGE}, {"Origin": PAGE.upper()}):
        (await RawSocket.joined(gateway.url, gateway.api.token("ada"), headers=headers)).abort()
        assert (await polled(gateway, http, headers)).startswith('40{"sid"')
    raw = await RawSocket.opened(gateway.url, headers={"Origin": gateway.url})
    with pytest.raises(TurnedAwayError):
        await raw.connect(gateway.api.token("ada"))
    raw.abort()


@each_foreign
async def test_foreign_pages_are_told_nothing(
    gateway: RunningGateway, http: aiohttp.ClientSession, origin: str
) -> None:
    """No header for them, whatever they ask and however it is answered."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    url = gateway.url + POLLING
    for method, path in (
        ("OPTIONS", url),
        ("GET", url),
        ("POST", f"{url}&sid=x"),
        ("GET", f"{gateway.url}/socket.io/?EIO=3"),
        ("GET", f"{gateway.url}/nowhere"),
        ("GET", f"{gateway.url}/metrics"),
    ):
        async with http.request(method, path, headers=headers) as response:
            assert said(response) == {}, (method, path)
            assert response.headers["Vary"] == "Origin"


async def test_allowed_pages_are_told_about_themselves_alone(
    gateway: RunningGateway, http: aiohttp.ClientSession
) -> None:
    """Their own origin, never `*`, never credentials; refusals too can be read."""
    for path in (POLLING, f"{POLLING}&sid=x", "/nowhere"):
        async with http.get(gateway.url + path, headers={"Origin": PAGE}) as response:
            told = said(response)
            assert told["Access-Control-Allow-Origin"] == PAGE
            assert "Access-Control-Allow-Credentials" not in told
    preflight = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    async with http.options(gateway.url + POLLING, headers=preflight) as response:
        assert response.status == 204
        assert said(response)["Access-Control-Allow-Origin"] == PAGE


async def test_all_pages_come_in_where_that_is_asked_for(http: aiohttp.ClientSession) -> None:
    """`CORS_ORIGINS=*`: `null` too; still no credentials."""
    async with fakeredis.FakeAsyncRedis() as store, running_gateway(store, cors_origins=("*",)) as gateway:
        for origin in ("https://evil.example", "null"):
            headers = {"Origin": origin}
            (await RawSocket.joined(gateway.url, gateway.api.token("ada"), headers=headers)).abort()
            assert (await polled(gateway, http, headers)).startswith('40{"sid"')
            async with http.get(gateway.url + POLLING, headers=headers) as response:
                told = said(response)
                assert told["Access-Control-Allow-Origin"] == "*"
                assert "Access-Control-Allow-Credentials" not in told
