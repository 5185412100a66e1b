"""Sessions: how they go on, and how they end."""

import asyncio
import time
from datetime import datetime

from support.client_kinds import Connect, Register, each_client
from support.clients import RefusedError
from support.forging import claims_of, expiring
from support.rest import PASSWORD, Api, Person
from support.stack import Stack


async def refused_at(connect: Connect, person: Person, code: str) -> bool:
    """Returns whether a new handshake is refused with this code."""
    try:
        socket = await connect(person)
    except RefusedError as refusal:
        return bool(refusal.code == code)
    await socket.close()
    return False


async def test_register_login_and_me_agree(register: Register, api: Api) -> None:
    """A session says who one is, and how long its token lasts; the username is case folded."""
    alice = await register("alice")
    assert set(alice.session) == {"user", "accessToken", "refreshToken", "expiresIn"}
    assert set(alice.user) == {"id", "username", "displayName"}
    assert await alice.get("/api/me") == alice.user
    claims = claims_of(alice.token)
    assert set(claims) >= {"iss", "aud", "sub", "name", "sid", "iat", "exp", "jti"}
    assert (claims["sub"], claims["name"]) == (alice.id, "Alice")
    assert claims["exp"] - claims["iat"] == alice.session["expiresIn"]
    login = {"username": alice.user["username"].upper(), "password": PASSWORD}
    again = (await api.call("POST", "/api/auth/login", login)).expect(200)
    assert again["user"] == alice.user
    assert claims_of(again["accessToken"])["sid"] != claims["sid"]
    taken = await api.call("POST", "/api/auth/register", login)
    assert (taken.status, taken.code) == (409, "username_taken")
    for wrong in ({**login, "password": "wrong password"}, {**login, "username": "nobody-at-all"}):
        answer = await api.call("POST", "/api/auth/login", wrong)
        assert (answer.status, answer.code) == (401, "bad_credentials")
    found = await alice.get(f"/api/users?username={alice.user['username']}")
    assert found == {"items": [alice.user]}
    assert await alice.get("/api/users?username=nobody-at-all") == {"items": []}


@each_client
async def test_logging_out_drops_the_sockets(connect: Connect, register: Register, api: Api) -> None:
    """Within a second every socket of the session is gone; the API refuses its tokens at once."""
    alice = await register("alice")
    login = {"username": alice.user["username"], "password": PASSWORD}
    other = Person(api, (await api.call("POST", "/api/auth/login", login)).expect(200))
    dropped, kept = [await connect(alice), await connect(alice)], await connect(other)
    (await alice.call("POST", "/api/auth/logout")).expect(204)
    started = time.monotonic()
    answer = await alice.call("GET", "/api/me")
    assert (answer.status, answer.code) == (401, "token_invalid")
    for socket in dropped:
        await socket.wait_disconnected(seconds=3)
    assert time.monotonic() - started < 1
    assert await refused_at(connect, alice, "token_invalid")
    refresh = {"refreshToken": alice.session["refreshToken"]}
    assert (await api.call("POST", "/api/auth/refresh", refresh)).status == 401
    assert (await kept.emit("heartbeat"))["ok"]
    assert await other.get("/api/me") == alice.user


async def test_refreshing_goes_on_and_reuse_ends_it(connect: Connect, register: Register, api: Api) -> None:
    """Each refresh spends its token and keeps the `sid`; a spent one ends the session, sockets too."""
    alice = await register("alice")
    first = {"refreshToken": alice.session["refreshToken"]}
    second = (await api.call("POST", "/api/auth/refresh", first)).expect(200)
    assert claims_of(second["accessToken"])["sid"] == claims_of(alice.token)["sid"]
    assert second["refreshToken"] != first["refreshToken"]
    fresh = Person(api, second)
    socket = await connect(fresh)
    reused = await api.call("POST", "/api/auth/refresh", first)
    assert (reused.status, reused.code) == (401, "token_reused")
    await socket.wait_disconnected(seconds=3)
    assert (await fresh.call("GET", "/api/me")).status == 401
    rest = await api.call("POST", "/api/auth/refresh", {"refreshToken": second["refreshToken"]})
    assert rest.status == 401


@each_client
async def test_an_expired_socket_is_disconnected(stack: Stack, connect: Connect, register: Register) -> None:
    """`token-expiring` comes at once when less than a minute is left; at the expiry the socket goes."""
    alice = await register("alice")
    token = expiring(alice.token, stack.key, seconds=3)
    socket = await connect(alice, token=token)
    expiry = claims_of(token)["exp"]
    warned = await socket.wait("token-expiring", seconds=1.5)
    assert datetime.fromisoformat(warned["expiresAt"]).timestamp() == expiry
    await socket.wait_disconnected(seconds=6)
    assert -0.1 < time.time() - expiry < 2


async def test_a_fresh_token_keeps_the_socket(stack: Stack, connect: Connect, register: Register) -> None:
    """`refresh-token` moves the expiry; a refused token leaves the socket as it was."""
    alice, bob = await register("alice"), await register("bob")
    chat_id = await alice.open_chat()
    socket = await connect(alice, token=expiring(alice.token, stack.key, seconds=3), joining=chat_id)
    for token, code in [
        (bob.token, "forbidden"),
        ("rubbish", "token_invalid"),
        (expiring(alice.token, stack.key, seconds=-5), "token_expired"),
    ]:
        ack = await socket.emit("refresh-token", {"token": token})
        assert (ack["ok"], ack["error"]["code"]) == (False, code)
    ack = await socket.emit("refresh-token", {"token": alice.token})
    assert ack == {"ok": True, "expiresAt": ack["expiresAt"]}
    assert datetime.fromisoformat(ack["expiresAt"]).timestamp() == claims_of(alice.token)["exp"]
    await asyncio.sleep(4)
    posted = await alice.say(chat_id, "still here")
    assert await socket.wait("new-msg") == posted
    assert socket.disconnected is None
