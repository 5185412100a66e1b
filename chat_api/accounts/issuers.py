"""Trusted token issuers: the API itself, and another one where it is configured."""

from chat_api.accounts.signing_keys import AnyOf, SigningKeys
from shared.auth.jwks import JwksKeys, KeySource


class TrustedIssuers:
    """The API's signing keys, and the keys of `JWKS_URL` where it is set.

    Args:
        configured: the set at `JWKS_URL`; None when the variable is not set.
    """

    def __init__(self, own: SigningKeys, configured: JwksKeys | None) -> None:
        self._own = own
        self._configured = configured
        self.keys: KeySource = own if configured is None else AnyOf(own, configured)

    async def keeps_accounts_here(self) -> bool:
        """Returns whether logins are given out here: not where the configured set lacks our key.

        Such a set is another issuer's.

        Raises:
            KeysUnavailableError: the configured set cannot be fetched now.
        """
        return self._configured is None or await self._configured.key(self._own.ring.kid) is not None
