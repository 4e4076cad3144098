-- Files in other stores: claimed beside what is sent here, and never instead of it.
-- The previous release does not know them: for it they are not `claimable` (they want a part more than they have).
ALTER TABLE extraction
    ADD COLUMN remote    boolean GENERATED ALWAYS AS (stream ->> 'format' = 'remote') STORED,
    ADD COLUMN fetchable boolean GENERATED ALWAYS AS (
        stream ->> 'format' = 'remote' AND state IN ('open', 'parked') AND leased_by IS NULL) STORED;
CREATE INDEX extraction_fetch_queue ON extraction (project_id, not_before) WHERE fetchable;
CREATE INDEX extraction_fetch_next ON extraction (not_before) WHERE fetchable;
