"""The benchmark runs, and its figures are those of the processes."""

from pathlib import Path

import orjson
import pytest
from support.servers import RabbitServer, RedisServer

from bench.contenders.gateways import KINDS, gateway
from bench.environment import Environment, environment_on
from bench.load.crowd import Crowd
from bench.load.messages import Talk
from bench.load.process import LoadError
from bench.report.documents import write
from bench.report.results import Book
from bench.rig import EACH_ALONE
from bench.rows import one_room
from bench.rows.scene import Scene
from shared.ids import new_id


async def test_each_contender_is_measured_doing_the_same(
    rabbitmq: RabbitServer, redis_server: RedisServer, tmp_path: Path
) -> None:
    said: list[str] = []
    book = Book(said.append)
    async with environment_on(rabbitmq, redis_server) as environment:
        await one_room.bursts(Scene(environment, book, rounds=1, kinds=KINDS, scale=0.05))
    assert {who for _, who, _ in book} == {*KINDS, EACH_ALONE}
    for _, who, series in book:
        (value,), (note,) = series.values, series.notes
        assert note["frames"] % (one_room.BURST * 50) == 0, who
        assert 0 < note["gateway_cpu_s"] < 2 * note["seconds"], who
        assert value == pytest.approx(note["gateway_cpu_s"] / note["frames"] * 1e6, rel=0.05), who
    write(book, tmp_path, rounds=1)
    written = orjson.loads((tmp_path / "results.json").read_bytes())
    assert {one["figure"] for one in written["targets"]} == {"bursts"}
    assert (tmp_path / "results.svg").read_text().count("<rect") == 1 + len(list(book))


async def test_a_message_too_many_fails_the_run(rabbitmq: RabbitServer, redis_server: RedisServer) -> None:
    async with (
        environment_on(rabbitmq, redis_server) as environment,
        gateway("roomcast", environment, name="test") as one,
        Crowd() as crowd,
    ):
        chat_id, talk = new_id(), Talk()
        await crowd.connect(one.port, [(environment.token(new_id()), [chat_id])])
        await _feed(environment, talk, chat_id, 1)
        await crowd.wait(1)
        await _feed(environment, talk, chat_id, 2)
        with pytest.raises(LoadError, match="3 messages came where 2 were sent"):
            await crowd.wait(2)


async def _feed(environment: Environment, talk: Talk, chat_id: str, count: int) -> None:
    await environment.group_feeder.feed(talk.burst([chat_id] * count))
