-- Events that were committed with the state they tell of, until the relay has published them, and a week beyond.
CREATE TABLE outbox (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     text NOT NULL,
    type         text NOT NULL,            -- the tag, e.g. upload.opened.v1
    body         json NOT NULL,            -- json, not jsonb: the very text that goes out
    request_id   text,
    traceparent  text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz,
    replays      integer NOT NULL DEFAULT 0,
    retry_at     timestamptz               -- set when the broker refused this very event; others go past it
);
CREATE INDEX outbox_unpublished ON outbox (seq) WHERE published_at IS NULL;
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX outbox_event ON outbox (event_id);

-- Events that a consumer has applied: the guarantee that each is applied once, however often it is delivered.
CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id text NOT NULL,
    seen_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_seen ON inbox (seen_at);

-- How often a redelivered event was begun, so that one which kills its process each time is found out after a restart.
CREATE TABLE attempt (
    consumer   text NOT NULL,
    event_id   text NOT NULL,
    begun      integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX attempt_updated ON attempt (updated_at);
