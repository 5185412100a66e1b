"""Opens the parts that `roomcast up` needs: the configured ones, embedded ones for the rest."""

import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from pydantic import SecretStr
from redis.asyncio import Redis

from roomcast.embedded.postgres import embedded_postgres
from shared.bus import Bus
from shared.config.start_errors import StartError
from shared.process.links import rabbit_link, redis_link


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """Makes `folder` where it is not there, and keeps others from starting on it while the block runs.

    The hold ends with the process, however it ends.

    Raises:
        StartError: it cannot be written, or another `roomcast up` holds it.
    """
    try:
        # Others may pass through and list nothing: started by root, PostgreSQL has another account's rights.
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = (folder / "up.lock").open("w")
    except OSError as error:
        raise StartError(
            f"DATA_DIR={folder} cannot be written ({error.strerror}): set it to another folder."
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"Another `roomcast up` runs on DATA_DIR={folder}: stop it, or set another folder and ports."
            ) from None
        yield


@asynccontextmanager
async def database(url: SecretStr | None, folder: Path) -> AsyncIterator[str]:
    """Yields the address of the database: `url`'s, or an embedded PostgreSQL's with its data in `folder`."""
    if url is not None:
        yield url.get_secret_value()
        return
    async with embedded_postgres(folder / "postgres") as embedded:
        yield embedded


@asynccontextmanager
async def bus(url: SecretStr | None) -> AsyncIterator[Bus]:
    """Yields the bus: on the RabbitMQ at `url`, or one within this process."""
    if url is not None:
        async with rabbit_link(url, service="up") as rabbit:
            yield rabbit
        return
    from shared.bus.local import LocalBus  # noqa: PLC0415  # not needed beside a RabbitMQ

    yield LocalBus()


@asynccontextmanager
async def store(url: SecretStr | None) -> AsyncIterator[Redis]:
    """Yields a client of the store: the Redis at `url`, or one within this process."""
    if url is not None:
        async with redis_link(url) as client:
            yield client
        return
    from fakeredis import FakeAsyncRedis  # noqa: PLC0415  # slow to import, and not needed beside a Redis

    async with FakeAsyncRedis() as client:
        yield client
