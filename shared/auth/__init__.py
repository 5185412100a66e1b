"""Auth: verifying the access tokens that an issuer has signed.

`tokens` checks a token: one key id, one signature (EdDSA, Ed25519), issuer, audience and times, then its
claims. It asks `jwks` for the key: the issuer's JWK set, fetched over HTTP and kept fresh.

What must stay true:

- Only public keys are here. Whoever verifies can sign nothing.
- A token that names an unknown key is not the same as a bad one: the key may be too new (`UnknownKeyError`),
  or the set may not be had now (`KeysUnavailableError`).
- Made-up key ids, which anybody can send, make for one fetch in ten seconds at most.
- A verified token is remembered, and refused as soon as its key is no longer in the set.
- A token that is refused says for the log why, and to its sender no more than a code.

It does not sign, and knows nothing of sessions that have ended before their tokens expire: see
`shared/store/ended_sessions.py`.
"""
