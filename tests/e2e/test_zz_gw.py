import asyncio, itertools
import pytest
from test_joining import _pour, KINDS, JOINS
from ground import Connect, Register
@pytest.mark.timeout(90)
async def test_gw(connect: Connect, register: Register, stack) -> None:
    alice = await register("alice")
    chat_id = await alice.open_chat()
    posting = asyncio.create_task(_pour(alice, chat_id))
    joined = []
    try:
        for kind in itertools.islice(itertools.cycle(KINDS), JOINS):
            socket = await connect(alice, kind=kind)
            after = (await alice.get(f"/api/chat/{chat_id}"))["lastSeq"]
            ack = await socket.emit("join-chat", {"chatId": chat_id, "afterSeq": max(0, after - 5)})
            joined.append((kind, socket, ack))
    finally:
        posting.cancel()
        last = await posting
    await asyncio.sleep(8)
    for kind, socket, ack in joined:
        live=[m["seq"] for m in socket.bodies("new-msg")]
        print(kind, ack["lastSeq"], last, live[:1], live[-1:], len(live), socket.disconnected)
    for g in stack.gateways: 
        print(g.process.log.read_text()[-1500:] if hasattr(g.process,'log') else dir(g.process))
    raise SystemError
