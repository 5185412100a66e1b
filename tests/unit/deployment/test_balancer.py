"""deploy/haproxy.cfg against compose.yaml and the program: ports, replicas, stickiness, time-outs."""

from urllib.parse import urlsplit

import pytest
from engineio import AsyncServer
from support.deployment import ROOT, port_of, seconds, sections, service

from shared.http import health as ops
from ws_gateway.transport.heartbeat import PING_INTERVAL_SECONDS, PING_TIMEOUT_SECONDS


def test_the_balancer_listens_where_it_is_published() -> None:
    """The published ports are those of the frontends, under the same numbers; its own page is not."""
    bound = {name: each.said("bind")[0][0].removeprefix(":") for name, each in sections("frontend").items()}
    assert service("balancer")["ports"] == [f"{bound[name]}:{bound[name]}" for name in ("api", "gateway")]
    check = urlsplit(service("balancer")["healthcheck"]["test"][-1])
    assert str(check.port) == bound["own"]
    assert sections("frontend")["own"].said("monitor-uri") == [(check.path,)]


def test_every_browser_page_of_the_balancer_may_call() -> None:
    """By default the origins are the balancer's public addresses."""
    origins = service("api")["environment"]["CORS_ORIGINS"].split(",")
    published = {port.partition(":")[0] for port in service("balancer")["ports"]}
    assert set(origins) == {
        f"http://{host}:{port}" for host in ("localhost", "127.0.0.1") for port in published
    }
    assert service("gateway")["environment"]["CORS_ORIGINS"].split(",") == origins


@pytest.mark.parametrize("name", ["api", "gateway"])
def test_replicas_are_found_and_checked(name: str) -> None:
    """A frontend goes to the replicas that are ready, else to those that are alive, and finds both by DNS."""
    frontend, backends = sections("frontend")[name], sections("backend")
    assert frontend.said("default_backend") == [(f"{name}s_alive",)]
    assert {words[0] for words in frontend.said("use_backend")} <= backends.keys()
    port = port_of(name)
    for backend, path in ((f"{name}s", "/readyz"), (f"{name}s_alive", "/healthz")):
        ((_, slots, address, *options),) = backends[backend].said("server-template")
        assert address == f"{name}:{port}"
        assert slots.startswith("1-")
        assert options[options.index("resolvers") + 1] in sections("resolvers")
        assert options[options.index("init-addr") + 1] == "none"
        assert "check" in options
        ((_, _, _, checked, *_),) = backends[backend].said("http-check", "send")
        assert checked == path
        assert path in ops.PATHS
    assert set(service("balancer")["networks"]) & set(service(name)["networks"])


def test_a_polling_session_stays_at_its_gateway() -> None:
    """Its `sid` is learnt from the first answer, and leads to the same gateway as long as it lives."""
    pause = PING_INTERVAL_SECONDS + PING_TIMEOUT_SECONDS
    for backend in (sections("backend")["gateways"], sections("backend")["gateways_alive"]):
        assert backend.said("stick", "match") == [("url_param(sid)",)]
        ((learned, *_),) = backend.said("stick", "store-response")
        assert learned == "res.body,bytes(1),json_query($.sid)"
        (table,) = backend.said("stick-table")
        assert int(table[table.index("len") + 1]) >= len(AsyncServer().generate_id())
        assert seconds(table[table.index("expire") + 1]) > pause
    assert ("gateways_alive", "if", "{", "url_param(sid),in_table(gateways_alive)", "}") in sections(
        "frontend"
    )["gateway"].said("use_backend")


def test_silence_between_pings_is_no_timeout() -> None:
    """Neither a poll nor a WebSocket is cut while its client has time to answer a ping."""
    defaults = sections("defaults")[""]
    for side in ("client", "server", "tunnel"):
        assert seconds(defaults.said("timeout", side)[0][0]) > PING_INTERVAL_SECONDS + PING_TIMEOUT_SECONDS


def test_the_balancer_has_the_descriptors_for_its_connections() -> None:
    """HAProxy refuses to start with fewer than two for each connection, and some for itself."""
    general = sections("global")[""]
    assert service("balancer")["ulimits"]["nofile"] > 2 * int(general.said("maxconn")[0][0]) + 1000
    mounted = service("balancer")["volumes"][0].split(":")
    assert (ROOT / mounted[0]).is_file()
    assert mounted[1:] == ["/usr/local/etc/haproxy/haproxy.cfg", "ro"]
