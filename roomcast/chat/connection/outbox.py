"""Posts messages in the order typed, each once, however often it has to be tried."""

import asyncio
from collections.abc import Callable

from roomcast.chat.connection.account import Account, LoggedOutError
from roomcast.chat.connection.rest import ChatError, RefusedError, UnreachableError
from roomcast.chat.models import Message
from shared.concurrency.backoff import backoff
from shared.ids import new_id


class Outbox:
    """A queue of messages to post; `run` has to run for that.

    Attributes:
        failed: true once a message was refused for good.
    """

    def __init__(
        self, account: Account, *, sent: Callable[[Message], None], notice: Callable[[str], None]
    ) -> None:
        self.failed = False
        self._account = account
        self._sent = sent
        self._notice = notice
        self._waiting: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def post(self, chat_id: str, content: str) -> None:
        """Queues a message behind those before it."""
        self._waiting.put_nowait((chat_id, content))

    async def drained(self) -> None:
        """Returns when everything was posted or refused."""
        await self._waiting.join()

    async def run(self) -> None:
        """Posts until cancelled.

        Raises:
            LoggedOutError: nothing can be posted any more.
        """
        while True:
            chat_id, content = await self._waiting.get()
            try:
                self._sent(await self._post(chat_id, content))
            except LoggedOutError:
                raise
            except ChatError as error:
                self.failed = True
                self._notice(f"Not sent: {error}")
            self._waiting.task_done()

    async def _post(self, chat_id: str, content: str) -> Message:
        """Posts one message, tried with one key until there is an answer that means yes or no."""
        body, key = {"chatId": chat_id, "content": content}, {"Idempotency-Key": new_id()}
        for attempt, delay in enumerate(backoff(0.5, 5.0)):
            try:
                answer = await self._account.call("POST", "/api/chat/messages", body, headers=key)
                return Message.model_validate(answer)
            except UnreachableError as error:
                pause, reason = delay, str(error)
            except RefusedError as error:
                if error.retry_after is None and error.status < 500:
                    raise
                pause, reason = max(delay, error.retry_after or 0), str(error)
            if not attempt:
                self._notice(f"Not sent yet, trying again: {reason}")
            await asyncio.sleep(pause)
        raise AssertionError("the pauses have no end")
