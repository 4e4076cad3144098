-- Extractions that go on where they were, wait without being lost, and are claimed fairly between projects.
-- What only the previous release reads (deaths, failures, troubles, the index extraction_claimable) goes a release later.
ALTER TABLE extraction
    ADD COLUMN project_id text GENERATED ALWAYS AS (stream ->> 'project_id') STORED,
    ADD COLUMN landed     int4multirange NOT NULL DEFAULT '{}', -- the numbers of all parts that are there
    ADD COLUMN attempts   integer NOT NULL DEFAULT 0,           -- in a row, the present one too, that stored no file
    ADD COLUMN checkpoint jsonb,                                -- libs.modelfiles.tar.TarCheckpoint after the last stored file
    -- A column of its own, so that a part which changes nothing about it changes no index either.
    ADD COLUMN claimable  boolean GENERATED ALWAYS AS (
        state IN ('open', 'parked') AND leased_by IS NULL AND ready_parts >= wanted_parts) STORED;

-- `parked`: `attempts` were in vain for a reason that is not the client's; tried again at `not_before`.
ALTER TABLE extraction
    DROP CONSTRAINT extraction_state_check,
    DROP CONSTRAINT extraction_check3,
    ADD CONSTRAINT extraction_state_check CHECK (state IN ('open', 'parked', 'extracted', 'rejected', 'stopped')),
    ADD CONSTRAINT extraction_ended_check CHECK ((state IN ('open', 'parked')) = (ended_at IS NULL));

UPDATE extraction
   SET landed = known.landed
  FROM (SELECT stream_id, range_agg(int4range(number, number + 1)) AS landed FROM extraction_part GROUP BY stream_id) AS known
 WHERE extraction.stream_id = known.stream_id AND state = 'open';

CREATE INDEX extraction_queue ON extraction (project_id, not_before) WHERE claimable;
CREATE INDEX extraction_next ON extraction (not_before) WHERE claimable;
CREATE INDEX extraction_leased ON extraction (leased_by) WHERE leased_by IS NOT NULL;
CREATE INDEX extraction_forgettable ON extraction (ended_at) WHERE ended_at IS NOT NULL;

-- The files of an extraction under way that are in storage, in their order in the archive, without a gap.
CREATE TABLE extraction_file (
    stream_id  text NOT NULL,
    number     integer NOT NULL CHECK (number >= 0),
    path       text NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256     text NOT NULL,
    key        text NOT NULL,
    PRIMARY KEY (stream_id, number)
);
