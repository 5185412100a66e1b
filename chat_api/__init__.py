"""The REST API: the only writer of PostgreSQL and the only signer of tokens."""
