"""Settings of the API."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator

from shared.config.settings import Settings, WholeNumber, for_text, url_of

TEN_YEARS = 10 * 365 * 24 * 3600

Seconds = Annotated[
    WholeNumber, Field(ge=1, le=TEN_YEARS, description=f"a number of seconds, 1 to {TEN_YEARS}")
]

Days = Annotated[WholeNumber, Field(ge=1, le=36500)]


def _one_scheme(url: str) -> str:
    return "postgresql://" + url.removeprefix("postgres://") if url.startswith("postgres://") else url


class ApiSettings(Settings):
    """The settings that the API reads beside those that all services share."""

    database_url: Annotated[
        SecretStr | None, for_text(_one_scheme), url_of("postgresql", "postgres", needs_host=False)
    ] = Field(None, description="a URL like postgresql://user:password@host:5432/database")
    jwt_private_key_file: Path | None = Field(None, description="a file with an Ed25519 private key in PEM")
    access_token_ttl: Seconds = 900
    refresh_token_ttl: Seconds = 30 * 24 * 3600
    message_retention_days: Days | None = Field(None, description="a number of days, 1 to 36500")
    event_retention_days: Days | None = Field(None, description="a number of days, 1 to 36500")

    @field_validator("jwt_private_key_file")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        if path is not None:
            try:
                path.read_bytes()
            except OSError as error:
                raise ValueError(error.strerror) from None
        return path
