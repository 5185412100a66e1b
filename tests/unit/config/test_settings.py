"""Settings: what is read from where, and what an operator is told about what does not fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ai_worker.settings import WorkerSettings
from chat_api.settings import ApiSettings
from shared.config.settings import Settings
from shared.config.start_errors import SettingsError
from ws_gateway.settings import GatewaySettings


class EverySettings(ApiSettings, GatewaySettings, WorkerSettings):
    """All variables at once."""


@pytest.fixture(autouse=True)
def empty_ground(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env`, and no variable that is a setting."""
    monkeypatch.chdir(tmp_path)
    for name in EverySettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def refusal(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str], **load: Any) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        EverySettings.load(**load)
    return list(caught.value.lines)


def test_nothing_needs_to_be_set() -> None:
    """Every variable has the default that the contract states."""
    settings = EverySettings.load()
    assert settings.database_url is settings.rabbitmq_url is settings.redis_url is None
    assert settings.data_dir == Path(".roomcast")
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8000)
    assert (settings.gateway_host, settings.gateway_port) == ("127.0.0.1", 3001)
    assert (settings.worker_host, settings.worker_port) == ("127.0.0.1", 8002)
    assert settings.api_url == "http://127.0.0.1:8000"
    assert settings.jwks_url == "http://127.0.0.1:8000/.well-known/jwks.json"
    assert (settings.jwt_issuer, settings.jwt_audience) == ("roomcast", "roomcast")
    assert settings.jwt_private_key_file is None
    assert (settings.access_token_ttl, settings.refresh_token_ttl) == (900, 2_592_000)
    assert (settings.ai_model, settings.ai_agent) == (("demo",), None)
    assert settings.rate_limits
    assert settings.log_level == "info"
    assert settings.otel_exporter_otlp_endpoint is None


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` is read, and a variable of the environment hides its line; an empty one does not."""
    Path(".env").write_text("API_PORT=9000\nGATEWAY_PORT=9001\nJWT_ISSUER=file\nUNKNOWN=1\n")
    monkeypatch.setenv("API_PORT", "9500")
    monkeypatch.setenv("JWT_ISSUER", "")
    settings = Settings.load()
    assert (settings.api_port, settings.gateway_port, settings.jwt_issuer) == (9500, 9001, "file")


def test_an_empty_or_blank_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves the default, and does not count as given."""
    assert ApiSettings.load(api_port="  ").api_port == 8000
    monkeypatch.setenv("REDIS_URL", " ")
    monkeypatch.setenv("DATABASE_URL", "")
    lines = refusal(monkeypatch, {}, needs=["redis_url", "database_url", "rabbitmq_url"])
    assert [line.split()[0] for line in lines] == ["RABBITMQ_URL", "REDIS_URL", "DATABASE_URL"]
    assert all("is not set: set it to a URL like" in line for line in lines)


def test_every_wrong_value_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for each, with the variable, its value and what is allowed; nothing else."""
    wrong = {
        "RABBITMQ_URL": "http://queue",
        "API_PORT": "0",
        "GATEWAY_PORT": "65536",
        "WORKER_PORT": "80a",
        "API_HOST": "http://localhost",
        "LOG_LEVEL": "loud",
        "LOG_FORMAT": "xml",
        "RATE_LIMITS": "yes",
        "TRUSTED_PROXIES": "balancer",
        "GATEWAY_MAX_PAYLOAD": "1023",
        "GATEWAY_MAX_ROOMS": "10001",
        "GATEWAY_EVENTS_PER_SECOND": "0",
        "GATEWAY_EVENTS_BURST": "1.5",
        "GATEWAY_MAX_WAITING": "1000",
        "GATEWAY_SOCKETS_PER_USER": "0",
        "GATEWAY_MAX_SOCKETS": "many",
        "GATEWAY_HTTP_CONNECTIONS": "0",
        "GATEWAY_HTTP_CONNECTIONS_PER_ADDRESS": "none",
        "GATEWAY_HANDSHAKES_PER_SECOND": "-1",
        "GATEWAY_HANDSHAKES_PER_ADDRESS": "0",
        "GATEWAY_HANDSHAKE_SECONDS": "61",
        "ACCESS_TOKEN_TTL": "0",
        "REFRESH_TOKEN_TTL": "-5",
        "API_URL": "ftp://api",
        "AI_MODEL": "gpt",
        "CORS_ORIGINS": "https://example.org/path",
        "JWT_PRIVATE_KEY_FILE": "/nowhere/key.pem",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "collector",
    }
    lines = refusal(monkeypatch, wrong, needs=["redis_url"])
    assert {line.partition("=")[0] for line in lines if "=" in line} == set(wrong)
    assert len(lines) == len(wrong) + 1
    for line in lines:
        name, _, rest = line.partition("=")
        assert not rest or (wrong[name] in rest and "must be" in rest)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_URL", "http://user:hunter2@queue"),
        ("RABBITMQ_URL", "amqp://user:hun/hunter2@que ue:x"),
        ("REDIS_URL", "redis://:hunter2"),
        ("REDIS_URL", "rediss://host:99999/?password=hunter2"),
        ("DATABASE_URL", "mysql://root:hunter2@host/base"),
        ("DATABASE_URL", "user:hunter2@host/base"),
        ("DATABASE_URL", "postgresql://user:p?hunter2@host:x/base"),
        ("API_URL", "https://user:hunter2@host:port"),
        ("JWT_PRIVATE_KEY_FILE", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://u:hunter2@collector"),
    ],
)
def test_a_refusal_shows_no_password(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """A URL's password is not in the message, whatever is wrong with it."""
    [line] = refusal(monkeypatch, {variable: value})
    assert line.startswith(variable)
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        ("API_HOST", "[::1]", "api_host", "::1"),
        ("API_HOST", "api.example.org", "api_host", "api.example.org"),
        ("RATE_LIMITS", "OFF", "rate_limits", False),
        ("LOG_LEVEL", "DEBUG", "log_level", "debug"),
        ("LOG_FORMAT", "JSON", "log_format", "json"),
        ("API_URL", "https://example.org/", "api_url", "https://example.org"),
        ("API_URL", "https://example.org/", "jwks_url", "https://example.org/.well-known/jwks.json"),
        ("API_HOST", "0.0.0.0", "api_url", "http://127.0.0.1:8000"),
        ("API_HOST", "::", "api_url", "http://[::1]:8000"),
        ("CORS_ORIGINS", "*", "cors_origins", ("*",)),
        (
            "CORS_ORIGINS",
            "HTTPS://Example.org:443, http://localhost:5173,,http://[::1]:80",
            "cors_origins",
            ("https://example.org", "http://localhost:5173", "http://[::1]"),
        ),
    ],
)
def test_values_that_fit(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    """Words are taken in any case; origins become what a browser sends."""
    monkeypatch.setenv(variable, value)
    assert getattr(Settings.load(), field) == expected


@pytest.mark.parametrize(
    "origins",
    [
        "null",
        "example.org",
        "https://",
        "https://*.example.org",
        "https://a.org?x",
        "https://u@a.org",
        "ws://a.org",
    ],
)
def test_an_origin_is_a_scheme_a_host_and_a_port(monkeypatch: pytest.MonkeyPatch, origins: str) -> None:
    """Anything else would never match what browsers send, so it is refused."""
    [line] = refusal(monkeypatch, {"CORS_ORIGINS": origins})
    assert line.startswith("CORS_ORIGINS=")


def test_own_origins_are_allowed_under_each_name_of_this_machine() -> None:
    """Without CORS_ORIGINS: the API's and the gateway's, `localhost` and `127.0.0.1` both."""
    assert Settings.load().allowed_origins == {
        f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in (8000, 3001)
    }
    assert "http://localhost:8000" in Settings.load(api_host="0.0.0.0").allowed_origins
    assert Settings.load(api_host="10.1.2.3", gateway_host="10.1.2.3").allowed_origins == {
        "http://10.1.2.3:8000",
        "http://10.1.2.3:3001",
    }


def test_configured_origins_replace_the_own_ones() -> None:
    """CORS_ORIGINS, once set, lists all that may call."""
    settings = Settings.load(cors_origins="https://example.org")
    assert settings.allowed_origins == {"https://example.org"}


def test_both_names_of_the_postgresql_scheme_are_one() -> None:
    """`postgres://` is common; drivers get `postgresql://`."""
    given = ApiSettings.load(database_url="postgres://u:p@h/d").database_url
    assert given is not None
    assert given.get_secret_value() == "postgresql://u:p@h/d"


def test_a_socket_is_a_database_address_too() -> None:
    """A PostgreSQL URL needs no host."""
    assert ApiSettings.load(database_url="postgresql:///base?host=/run/postgresql").database_url is not None


def test_a_key_file_must_be_readable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder in its place is refused, a file is taken."""
    [line] = refusal(monkeypatch, {"JWT_PRIVATE_KEY_FILE": str(tmp_path)})
    assert "Is a directory" in line
    key = tmp_path / "key.pem"
    key.write_text("key")
    assert ApiSettings.load(jwt_private_key_file=key).jwt_private_key_file == key


def test_a_file_that_is_not_text_is_refused() -> None:
    """A binary `.env` is named instead of a traceback."""
    Path(".env").write_bytes(b"API_PORT=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env"):
        Settings.load()


def test_settings_show_no_secret() -> None:
    """Printing or logging the settings harms nothing."""
    settings = ApiSettings.load(database_url="postgresql://u:hunter2@h/d", redis_url="redis://:hunter2@h")
    assert "hunter2" not in repr(settings)


def test_the_example_lists_every_variable() -> None:
    """`.env.example` names each variable once."""
    text = (Path(__file__).parents[3] / ".env.example").read_text()
    named = [line.lstrip("# ").partition("=")[0] for line in text.splitlines() if "=" in line]
    assert sorted(named) == sorted(name.upper() for name in EverySettings.model_fields)
    assert all(line.startswith("#") for line in text.splitlines() if line), "copied as it is, it sets nothing"
