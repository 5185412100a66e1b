"""The bus over TLS (`amqps://…`): the broker's port behind a TLS front with a certificate of its own."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from integration.rabbit.broker import gateway, message, to, until
from support.servers import RabbitServer
from yarl import URL

from shared.bus import BusUnavailableError
from shared.bus.rabbit.bus import rabbit_bus
from shared.events import MESSAGE_CREATED, Event


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Files with a certificate for 127.0.0.1, which signs itself, and with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


@pytest.fixture
async def secure(rabbitmq: RabbitServer, certificate: tuple[Path, Path]) -> AsyncIterator[URL]:
    """The broker's URL through the TLS front, without the authority that it takes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    broker = URL(rabbitmq.url)

    async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, outside = await asyncio.open_connection("127.0.0.1", broker.port)
        await asyncio.gather(_pass_on(reader, outside), _pass_on(inside, writer))

    server = await asyncio.start_server(front, "127.0.0.1", 0, ssl=context)
    async with server:
        yield broker.with_scheme("amqps").with_port(server.sockets[0].getsockname()[1])


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except OSError:
        pass  # one side is gone, and so the other goes
    finally:
        target.close()


async def test_events_reach_a_gateway_over_tls(secure: URL, certificate: tuple[Path, Path]) -> None:
    """Published and delivered through it, small ones and one of several frames."""
    url = str(secure.update_query(cafile=str(certificate[0])))
    sent = [message(number) for number in range(20)]
    sent.append(Event(MESSAGE_CREATED, b'{"content":"%b"}' % (b"x" * 300_000), rooms=("chat:1",)))
    async with rabbit_bus(url, name="secure") as bus:
        await bus.ping()
        async with gateway(bus, "tls") as heard:
            for event in sent:
                await bus.publish([to(event, "tls")])
            await until(lambda: len(heard.events) == len(sent))
            assert heard.events == sent


async def test_a_broker_whose_certificate_is_not_trusted_is_not_used(secure: URL) -> None:
    async with rabbit_bus(str(secure), name="careful") as bus:
        with pytest.raises(BusUnavailableError):
            await bus.ping()
