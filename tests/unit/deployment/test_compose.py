"""compose.yaml against the program: what it names exists, and its services fit each other."""

from typing import Final
from urllib.parse import urlsplit

import pytest
from support.deployment import (
    ROOT,
    SCALED,
    SETTINGS,
    compose,
    instructions,
    interpolated,
    offered,
    port_of,
    seconds,
    sections,
    service,
    settings_of,
)
from typer.main import get_group

from ai_worker.app import DRAIN_SECONDS
from roomcast.cli import app
from ws_gateway.clients.drain import CLOSE_SECONDS, GRACE_SECONDS

SET_BY_AN_OPERATOR: Final = {
    "POSTGRES_PASSWORD": "elephant1",
    "RABBITMQ_PASSWORD": "rabbit2",
    "LOG_LEVEL": "debug",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "JWKS_URL": "https://issuer.example.org/jwks.json",
    "JWT_ISSUER": "https://issuer.example.org",
    "JWT_AUDIENCE": "chat",
    "CORS_ORIGINS": "https://chat.example.org",
    "RATE_LIMITS": "off",
    "TRUSTED_PROXIES": "10.1.2.3",
    "GATEWAY_MAX_SOCKETS": "1000",
    "ACCESS_TOKEN_TTL": "60",
    "REFRESH_TOKEN_TTL": "600",
    "MESSAGE_RETENTION_DAYS": "730",
    "EVENT_RETENTION_DAYS": "90",
    "AI_MODEL": "demo",
    "AI_INSTRUCTIONS": "Answer in rhymes.",
    "AI_CONTEXT_TOKENS": "4000",
    "AI_FIRST_TOKEN_TIMEOUT": "9",
    "AI_TIMEOUT": "90",
    "AI_BREAKER_FAILURES": "3",
    "AI_BREAKER_SECONDS": "10",
    "AI_CACHE_TTL": "60",
}
each_environment = pytest.mark.parametrize(
    "variables", [{}, SET_BY_AN_OPERATOR, dict.fromkeys(offered(), "")], ids=["unset", "set", "blank"]
)
each_own = pytest.mark.parametrize("name", SETTINGS)


@each_own
def test_a_service_runs_a_command_of_the_program(name: str) -> None:
    """Each own service's command is one of `roomcast`, without arguments."""
    assert service(name)["command"] == [name]
    assert name in get_group(app).commands


@each_own
@each_environment
def test_the_environment_is_one_that_the_service_takes(name: str, variables: dict[str, str]) -> None:
    """Every variable is a setting of that service, what it needs is there, and every value is accepted."""
    known = {field.upper() for field in SETTINGS[name].model_fields}
    assert set(service(name, variables)["environment"]) <= known
    settings_of(name, variables)


def test_what_an_operator_sets_arrives() -> None:
    """A variable that is set for Compose is what the services work with."""
    api = settings_of("api", SET_BY_AN_OPERATOR)
    gateway = settings_of("gateway", SET_BY_AN_OPERATOR)
    assert (api.access_token_ttl, api.refresh_token_ttl, api.log_level) == (60, 600, "debug")
    for each in (api, gateway):
        assert each.allowed_origins == {"https://chat.example.org"}
        assert (each.jwt_issuer, each.jwt_audience) == ("https://issuer.example.org", "chat")
        assert each.jwks_url == "https://issuer.example.org/jwks.json"
        assert not each.rate_limits
        assert [str(network) for network in each.trusted_proxies] == ["10.1.2.3/32"]


def test_keys_of_models_are_for_the_worker_alone() -> None:
    """They come from a file of their own, which need not be there and stays out of the repository."""
    files = {name: each["env_file"] for name, each in compose()["services"].items() if "env_file" in each}
    assert files == {"worker": [{"path": "models.env", "required": False}]}
    assert "models.env" in (ROOT / ".gitignore").read_text().split()


def test_what_can_be_set_is_documented() -> None:
    """compose.yaml takes the variables of `.env.example`, and the two passwords."""
    documented = (ROOT / ".env.example").read_text()
    assert {name for name in offered() if f"{name}=" not in documented} == {
        "POSTGRES_PASSWORD",
        "RABBITMQ_PASSWORD",
    }


@each_environment
def test_passwords_fit_the_servers(variables: dict[str, str]) -> None:
    """Services log in with what PostgreSQL and RabbitMQ were set up with."""
    api, servers = service("api", variables)["environment"], compose(variables)["services"]
    postgres, rabbitmq = servers["postgres"]["environment"], servers["rabbitmq"]["environment"]
    database, broker = urlsplit(api["DATABASE_URL"]), urlsplit(api["RABBITMQ_URL"])
    assert (database.username, database.password) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_PASSWORD"],
    )
    assert database.path == f"/{postgres['POSTGRES_DB']}"
    assert (broker.username, broker.password) == (
        rabbitmq["RABBITMQ_DEFAULT_USER"],
        rabbitmq["RABBITMQ_DEFAULT_PASS"],
    )
    assert database.password
    assert broker.password


@each_own
def test_addresses_are_reachable_services(name: str) -> None:
    """Every URL leads to a service in a network that both are in; an own one to the port it listens on."""
    ports = {other: port_of(other) for other in SCALED}
    ports |= {"postgres": 5432, "rabbitmq": 5672, "redis": 6379}
    own = service(name)
    urls = [urlsplit(str(value)) for key, value in own["environment"].items() if key.endswith("_URL")]
    assert any(url.hostname for url in urls)
    for url in urls:
        if url.hostname:
            assert set(service(url.hostname)["networks"]) & set(own["networks"]), url.hostname
            assert url.port == ports[url.hostname]


def test_only_the_balancer_is_published() -> None:
    """Scaled services have nothing of which there can be only one, and the data network has no way out."""
    services = compose()["services"]
    assert [name for name, each in services.items() if "ports" in each] == ["balancer"]
    for name in SCALED:
        assert not services[name].keys() & {"ports", "container_name", "hostname", "network_mode"}, name
    assert compose()["networks"]["data"]["internal"] is True
    for name in ("postgres", "rabbitmq", "redis", "migrate"):
        assert services[name]["networks"] == ["data"], name


def test_services_start_in_order() -> None:
    """Nothing waits for what does not exist or waits for it; the API waits for the schema."""
    services = compose()["services"]
    for name, each in services.items():
        assert name == "migrate" or "healthcheck" in each, name
        for other, how in each.get("depends_on", {}).items():
            assert other in services
            assert how["condition"] != "service_healthy" or "healthcheck" in services[other]
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (services[other]["restart"] == "no"), (name, other)
    assert services["api"]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    started: set[str] = set()
    while started != set(services):
        able = {name for name in services if set(services[name].get("depends_on", {})) <= started}
        assert able > started, f"a circle: {set(services) - started}"
        started = able


def test_a_stop_leaves_time_to_drain() -> None:
    """Compose kills no service that is still draining, nor the balancer before it gives up by itself."""
    running_requests = 10
    grace = {name: seconds(service(name)["stop_grace_period"]) for name in (*SCALED, "balancer")}
    assert grace["api"] > running_requests
    assert grace["gateway"] > GRACE_SECONDS + 3 * CLOSE_SECONDS + running_requests
    assert grace["worker"] > DRAIN_SECONDS + running_requests
    general = sections("global")[""]
    assert grace["balancer"] > seconds(general.said("hard-stop-after")[0][0])


def test_what_is_kept_is_kept_and_redis_keeps_nothing() -> None:
    """Databases and the signing key are on named volumes; Redis writes nothing and finds nothing old."""
    mounted = {service(name)["volumes"][0].partition(":")[0] for name in ("postgres", "rabbitmq", "api")}
    assert mounted == set(compose()["volumes"])
    redis = service("redis")
    assert redis["command"] == ["redis-server", "--save", "", "--appendonly", "no"]
    assert "volumes" not in redis
    assert redis["tmpfs"] == ["/data"]
    assert service("rabbitmq")["hostname"] == "rabbitmq"


def test_all_apis_share_a_signing_key() -> None:
    """The API, and no other service, has the folder of the key, which belongs to the image's user."""
    folder = str(settings_of("api").data_dir)
    assert service("api")["volumes"] == [f"signing-key:{folder}"]
    assert not any("volumes" in service(name) for name in SETTINGS if name != "api")
    assert any(
        f"install --directory --owner=roomcast --group=roomcast --mode=0700 {folder}" in run.text
        for run in instructions("RUN")
    )


def test_variables_are_filled_in_as_compose_does() -> None:
    """An empty variable counts as unset only after a colon; one that must be set is asked for."""
    assert interpolated("${A}-${B:-b}-${C-c}-$$x", {"A": "a", "B": "", "C": ""}) == "a-b--$x"
    with pytest.raises(ValueError, match="say it"):
        interpolated("${A:?say it}", {"A": ""})
    with pytest.raises(ValueError, match="not understood"):
        interpolated("$A", {})
