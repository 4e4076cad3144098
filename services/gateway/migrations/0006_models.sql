-- Objects that storage has lost, and verdicts that are long in coming.

ALTER TABLE blob
    ADD COLUMN missing_since timestamptz,  -- not in storage: nothing new may count on it
    ADD COLUMN looked_for_at timestamptz;  -- the last ObjectMissing or ObjectFound of it, so that an older one is ignored

ALTER TABLE model
    ADD COLUMN status_before_missing text,         -- what it was until files of it went missing
    ADD COLUMN reason_before_missing text,
    ADD COLUMN validating_since      timestamptz,  -- the last deadline counts from here
    ADD COLUMN asked                 integer NOT NULL DEFAULT 1,  -- how often its verdict has been asked for
    ADD COLUMN parked_since          timestamptz;  -- while 'validating': when it was first said that it has to wait

CREATE INDEX model_validating ON model ((coalesce(validating_since, updated_at))) WHERE status = 'validating';
CREATE INDEX model_parked ON model (parked_since) WHERE status = 'validating' AND parked_since IS NOT NULL;

-- Which upload brought a model: for what lifecycle asks about.
CREATE INDEX IF NOT EXISTS upload_model ON upload (model_id);
