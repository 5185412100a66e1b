"""Accounts: who people are, and the sessions that they log in to.

Logging in: `accounts` (with `usernames` and `passwords`) finds or makes the user, `sessions` opens a session
and gives out its tokens, `signing_keys` signs them. Refreshing spends a refresh token for the next one.

A request: `authentication` verifies the token with the keys of `issuers`, has `foreign_users` make a row for
a user of another issuer, and refuses a session that has ended.

Logging out: `sessions` ends the session, with its event, for gateways that run; and notes it in Redis, for
gateways that start later. `revocation_set` fills that note from the database whenever Redis lost it.

What must stay true:

- Only this service has private keys; others verify with the public ones.
- Of refresh tokens and passwords only hashes are stored. Neither is ever logged.
- A spent refresh token that is used again ends its session: somebody holds a copy.
- A failed login takes as long and says the same, whatever was wrong; failures count by name and address, so
  that a guesser locks nobody else out.
- Where another issuer keeps the accounts, registering, logging in and refreshing are refused here.

User ids are text: ours are UUIDv7, another issuer's `sub` is what that issuer says.

It does not decide who may see a chat: that is `chats.membership`.
"""
