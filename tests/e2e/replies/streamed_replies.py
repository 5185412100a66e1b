"""Replies as a client in the room sees them: their statuses and chunks, and how they end."""

from collections.abc import Callable, Sequence
from typing import Any

from support.client_kinds import NewClient
from support.clients import SocketClient
from support.rest import Person
from support.stack import Service

REPLY_SECONDS = 15.0


async def finished(socket: SocketClient, message: Any) -> Any:
    """Waits until the reply to `message` has ended; the last `ai-status`."""

    def ends(status: Any) -> bool:
        return status["replyTo"] == message["id"] and status["status"] in {"completed", "failed", "cancelled"}

    return await socket.wait("ai-status", where=ends, seconds=REPLY_SECONDS)


def story(socket: SocketClient, reply_id: str) -> list[str]:
    """Lists what happened to one reply, in the order of arrival."""
    steps = []
    for received in socket.received:
        if received.event == "ai-status" and received.body["replyId"] == reply_id:
            steps.append(received.body["status"])
        elif received.event == "ai-chunk" and received.body["replyId"] == reply_id:
            steps.append("chunk")
        elif received.event == "new-msg" and received.body["id"] == reply_id:
            steps.append("new-msg")
    return steps


def chunks_of(socket: SocketClient, reply_id: str) -> list[Any]:
    """The chunks of one reply, in the order of arrival."""
    return [chunk for chunk in socket.bodies("ai-chunk") if chunk["replyId"] == reply_id]


async def cancel(person: Person, chat_id: str, reply_id: str) -> int:
    """Cancels a reply; the status of the answer."""
    return (await person.call("POST", f"/api/chat/{chat_id}/replies/{reply_id}/cancel")).status


async def being_written(socket: SocketClient, chunks: int = 2) -> str:
    """The id of the reply of which so many chunks have come."""
    return str((await socket.wait("ai-chunk", chunks))["replyId"])


async def message_of(socket: SocketClient, reply_id: str) -> Any:
    return await socket.wait("new-msg", where=lambda message: message["id"] == reply_id)


async def opened(
    make: NewClient, person: Person, at: Service, *chats: str, kind: str = "python-websocket"
) -> SocketClient:
    client = make(kind)
    await client.connect(at.url, auth={"token": person.token})
    await client.wait("connected")
    for chat_id in chats:
        assert (await client.emit("join-chat", chat_id))["ok"]
    return client


def like(**fields: Any) -> Callable[[Any], bool]:
    """Makes a check that a body has these fields."""
    return lambda body: all(body.get(name) == value for name, value in fields.items())


def last_attempt(chunks: Sequence[Any]) -> dict[int, str]:
    """The chunks that count, by index, put together as docs/protocol.md tells clients to."""
    latest = max((chunk.get("attempt", 1) for chunk in chunks), default=1)
    return {c["index"]: c["content"] for c in chunks if c.get("attempt", 1) == latest}


def text_of(chunks: dict[int, str]) -> str:
    """Their text; all of them have to be there."""
    return "".join(chunks[index] for index in range(len(chunks)))
