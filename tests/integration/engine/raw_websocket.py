"""A WebSocket on which a test writes Engine.IO packets itself."""

import asyncio

import aiohttp


class Raw:
    """A WebSocket on which a test writes Engine.IO packets by hand."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            if isinstance(packet, str):
                await self._socket.send_str(packet)
            else:
                await self._socket.send_bytes(packet)

    async def receive(self) -> str | None:
        """The next packet; None at the end of the connection."""
        async with asyncio.timeout(5):
            message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.TEXT else None
