"""Contenders: starts what is compared, each as a process of its own.

`gateways` starts Roomcast's gateway, stock python-socketio (`socketio_gateway`) or Node's (bench/node);
`platforms` puts an API and a database in front. For replies, `worker` is Roomcast's with `tokens` in place
of a model, and `resender` the reference that sends the whole text with each token.

What must stay true: a reference does the same job, and is no slower than need be; a developer's own
settings reach no contender.

Nothing is measured here.
"""
