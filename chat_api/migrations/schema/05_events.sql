-- Events: the outbox that the relay publishes from, and the record of all that happened, partitioned by
-- quarters of their time.

CREATE SEQUENCE events_position;

-- `position` is the order in which events are published; `body` is the JSON that clients or workers get.
CREATE TABLE events (
    position bigint NOT NULL DEFAULT nextval('events_position'),
    id text NOT NULL,
    time timestamptz NOT NULL,
    type text NOT NULL,
    source text NOT NULL DEFAULT '/roomcast/api',
    subject text NOT NULL DEFAULT '',
    name text NOT NULL DEFAULT '',
    rooms text[] NOT NULL DEFAULT '{}',
    users text[] NOT NULL DEFAULT '{}',
    seq bigint,
    everywhere boolean NOT NULL DEFAULT false,
    request_id text NOT NULL DEFAULT '',
    traceparent text NOT NULL DEFAULT '',
    body text NOT NULL,
    published_at timestamptz,
    PRIMARY KEY (id, time)
) PARTITION BY RANGE (time);

CREATE INDEX events_unpublished ON events (position) WHERE published_at IS NULL;

CREATE INDEX events_by_position ON events (position);

-- Ids of workers' events that have taken effect: a second delivery changes nothing.
CREATE TABLE handled_events (
    id text PRIMARY KEY,
    handled_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX handled_events_by_age ON handled_events (handled_at);
