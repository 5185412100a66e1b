"""Settings that every service reads: environment variables, then `.env`, checked before anything starts.

A variable that is empty or blank counts as not set. A field's description says what its variable may be: an
operator reads it when the value is refused.
"""

import sys
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic import model_validator as validates_model
from pydantic_core import ErrorDetails, PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shared.config.addresses import (
    Network,
    base_url,
    checked_url,
    host_name,
    http_origin,
    masked,
    networks,
    own_origins,
)
from shared.config.start_errors import SettingsError

_SHOWN: Final = 80
_needed: ContextVar[frozenset[str]] = ContextVar("needed", default=frozenset())


def for_text(parse: Callable[[str], object]) -> BeforeValidator:
    """Parses a variable's text with `parse`, which raises ValueError; other values stay as they are."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def url_of(*schemes: str, needs_host: bool = True) -> BeforeValidator:
    """Takes a URL of one of `schemes`."""
    return for_text(lambda text: checked_url(text, schemes, needs_host=needs_host))


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("not a whole number")
    return int(text)


def _switch(text: str) -> bool:
    if text.lower() not in {"on", "off"}:
        raise ValueError("neither of the two")
    return text.lower() == "on"


def _origins(text: str) -> tuple[str, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return tuple(dict.fromkeys(part if part == "*" else http_origin(part) for part in parts))


WholeNumber = Annotated[int, for_text(_whole_number)]
Port = Annotated[WholeNumber, Field(ge=1, le=65535, description="a port, 1 to 65535")]
Host = Annotated[
    str, for_text(host_name), Field(description="a host name or IP address, without scheme or port")
]
Name = Annotated[str, Field(min_length=1, max_length=255, description="text of 1 to 255 characters")]
HttpUrl = Annotated[str, url_of("http", "https"), Field(description="an http:// or https:// URL")]


class Settings(BaseSettings):
    """Settings of every service; the fields are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    rabbitmq_url: Annotated[SecretStr | None, url_of("amqp", "amqps")] = Field(
        None, description="a URL like amqp://user:password@host:5672/"
    )
    redis_url: Annotated[SecretStr | None, url_of("redis", "rediss")] = Field(
        None, description="a URL like redis://host:6379/0"
    )
    data_dir: Path = Field(Path(".roomcast"), description="a folder")
    api_host: Host = "127.0.0.1"
    api_port: Port = 8000
    gateway_host: Host = "127.0.0.1"
    gateway_port: Port = 3001
    worker_host: Host = "127.0.0.1"
    worker_port: Port = 8002
    api_url: HttpUrl = Field(default_factory=lambda known: base_url(known["api_host"], known["api_port"]))
    jwks_url: HttpUrl = Field(default_factory=lambda known: known["api_url"] + "/.well-known/jwks.json")
    jwt_issuer: Name = "roomcast"
    jwt_audience: Name = "roomcast"
    cors_origins: Annotated[tuple[str, ...], NoDecode, for_text(_origins)] = Field(
        (), description="comma-separated origins like https://example.org (scheme, host, port; no path), or *"
    )
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode, for_text(networks)] = Field(
        (), description="comma-separated addresses and networks like 10.0.0.0/8"
    )
    rate_limits: Annotated[bool, for_text(_switch)] = Field(True, description="on or off")
    log_format: Annotated[Literal["console", "json"], for_text(str.lower)] = Field(
        default_factory=lambda: "console" if sys.stderr.isatty() else "json", description="console or json"
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error", "critical"], for_text(str.lower)] = (
        Field("info", description="debug, info, warning, error or critical")
    )
    otel_exporter_otlp_endpoint: HttpUrl | None = Field(None, description="a URL like http://collector:4318")

    @validates_model(mode="before")
    @classmethod
    def _without_blanks(cls, values: dict[str, Any]) -> dict[str, Any]:
        stripped = {
            name: value.strip() if isinstance(value, str) else value for name, value in values.items()
        }
        return {name: value for name, value in stripped.items() if value != ""}

    @field_validator("rabbitmq_url", "redis_url", "database_url", mode="before", check_fields=False)
    @classmethod
    def _given_when_needed(cls, value: object, info: ValidationInfo) -> object:
        if value is None and info.field_name in _needed.get():
            raise PydanticCustomError("not_set", "is not set")
        return value

    @field_validator("data_dir")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("api_url")
    @classmethod
    def _without_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @property
    def allowed_origins(self) -> frozenset[str]:
        """Returns the origins that browsers may call from: as configured, else the API's and gateway's own.

        Holds `*` when every origin is allowed.
        """
        api, gateway = base_url(self.api_host, self.api_port), base_url(self.gateway_host, self.gateway_port)
        return frozenset(self.cors_origins) or own_origins((self.api_url, api, gateway))

    @classmethod
    def load(cls, *, needs: Iterable[str] = (), **overrides: Any) -> Self:
        """Reads the settings of this process; `overrides` win over the environment, which wins over `.env`.

        Args:
            needs: fields that must be given although they have a default, such as `redis_url`.
            overrides: values by field name.

        Raises:
            SettingsError: with a line for every variable that is wrong or missing.
        """
        token = _needed.set(frozenset(needs))
        try:
            settings = cls(**overrides)
        except ValidationError as error:
            raise SettingsError(cls._explain(error.errors())) from None
        except UnicodeDecodeError:
            raise SettingsError([".env must be text in UTF-8"]) from None
        finally:
            _needed.reset(token)
        settings.verify()
        return settings

    def verify(self) -> None:
        """Checks what no value shows by itself; called by `load`, before anything starts.

        Raises:
            SettingsError: with a line for each thing that is wrong.
        """

    @classmethod
    def _explain(cls, errors: Iterable[ErrorDetails]) -> Iterable[str]:
        for name, error in {str(error["loc"][0]): error for error in errors}.items():
            allowed = cls.model_fields[name].description
            if error["type"] == "not_set":
                yield f"{name.upper()} is not set: set it to {allowed} (only `roomcast up` does without)"
            elif error["type"] != "default_factory_not_called":
                yield f"{name.upper()}={_shown(error['input'])!r} must be {allowed}{_reason(error)}"


def _shown(value: object) -> str:
    text = masked(str(value))
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _reason(error: ErrorDetails) -> str:
    return f" ({error['ctx']['error']})" if error["type"] == "value_error" and "ctx" in error else ""
