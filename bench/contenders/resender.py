"""Writes replies as the reference does: with each token the whole text so far is sent again.

What servers do that keep a reply's text in one place and push it into a Socket.IO room. It does no more than
that takes: no draft for those who join, no confirms, no joining of tokens.
`python -m bench.contenders.resender` runs it.
"""

import asyncio
import os
from typing import Final, cast

import aiormq
import orjson
import uvloop
from aiormq.abc import DeliveredMessage

from bench.contenders.tokens import tokens
from shared.bus.rabbit.cloudevents import JSON, headers_of
from shared.events import REPLY_CHUNK, Event, ReplyRequested, chat_room
from shared.process.runtime import tune_gc

REQUESTS: Final = "bench.requests"
"""The queue from which it takes requests, and its routing key."""


async def serve() -> None:
    """Writes replies until killed."""
    connection = await aiormq.connect(os.environ["RABBITMQ_URL"])
    channel = cast(aiormq.Channel, await connection.channel(publisher_confirms=False))
    await channel.queue_declare(REQUESTS, exclusive=True)
    await channel.queue_bind(REQUESTS, os.environ["EXCHANGE"], routing_key=REQUESTS)
    running: set[asyncio.Task[None]] = set()

    async def on_message(message: DeliveredMessage) -> None:
        request = ReplyRequested.model_validate_json(message.body)
        task = asyncio.create_task(write(channel, request))
        running.add(task)
        task.add_done_callback(running.discard)

    await channel.basic_consume(REQUESTS, on_message, no_ack=True)
    print("ready", flush=True)
    await asyncio.get_running_loop().create_future()


async def write(channel: aiormq.Channel, request: ReplyRequested) -> None:
    """Writes one reply."""
    text, count = "", int(request.title)
    index = 0
    async for token in tokens(count):
        # The time in it counts with the first alone.
        text = f"#{text[1:]}{token}" if text else token
        body = {
            "chatId": request.chat_id,
            "replyId": request.reply_id,
            "index": index,
            "content": text,
            "isFinal": index == count - 1,
        }
        index += 1
        event = Event(
            REPLY_CHUNK,
            orjson.dumps(body),
            subject=request.reply_id,
            name="ai-chunk",
            rooms=(chat_room(request.chat_id),),
        )
        await channel.basic_publish(
            event.body,
            exchange=os.environ["EXCHANGE"],
            routing_key=os.environ["ROUTING_KEY"],
            properties=aiormq.spec.Basic.Properties(content_type=JSON, headers=headers_of(event)),
            wait=False,
        )


if __name__ == "__main__":
    tune_gc()
    uvloop.run(serve())
