"""A sample of what `make fuzz` sends: the gateway answers or closes, and nobody else notices."""

import pytest
from support.servers import RabbitServer, RedisServer

from endurance.fuzz import fuzz, ground


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
async def test_nonsense_harms_nobody_but_its_sender(
    rabbitmq: RabbitServer, redis_server: RedisServer
) -> None:
    """A bystander gets every broadcast, in order; then the gateway uses what it used before."""
    async with ground(rabbitmq.url, redis_server.url) as (service, api, bus):
        report = await fuzz(service, api, bus, count=400, number=1, warm=100)
    assert report.inputs >= 400
    assert report.outcomes["answered"] > 20
    assert report.outcomes["closed"] > 20
