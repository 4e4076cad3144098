-- Which relay of this schema publishes what others left behind: one at a time, for as long as it renews.
CREATE TABLE relay_lease (
    one        boolean PRIMARY KEY DEFAULT true CHECK (one),
    holder     text NOT NULL,
    held_until timestamptz NOT NULL
);

-- Events that the broker will not take: shown to the operator, tried again with growing pauses.
ALTER TABLE outbox ADD COLUMN refused_at timestamptz;   -- since when; null once it is published
ALTER TABLE outbox ADD COLUMN refused_reason text;
ALTER TABLE outbox ADD COLUMN refusals integer NOT NULL DEFAULT 0;
CREATE INDEX outbox_refused ON outbox (seq) WHERE refused_at IS NOT NULL AND published_at IS NULL;
