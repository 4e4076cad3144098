-- Models that their clients deleted, and may restore for a while; fields that clients have set; verdicts asked for anew.

ALTER TABLE model
    ADD COLUMN status_before_deleting text,         -- what a deleted model was, and is again when it is restored
    ADD COLUMN deleted_at             timestamptz,
    ADD COLUMN deleted_by             text,         -- the id of the key
    ADD COLUMN erase_at               timestamptz,  -- until then it can be restored
    ADD COLUMN edited                 text[] NOT NULL DEFAULT '{}',  -- columns whose values a client has set: verdicts leave them
    ADD COLUMN revalidating           boolean NOT NULL DEFAULT false;  -- the report is that of an earlier verdict

-- A deleted version no longer takes its number: the same one may be uploaded again.
CREATE UNIQUE INDEX model_version ON model (project_id, name, version) WHERE status <> 'deleting';
ALTER TABLE model DROP CONSTRAINT model_project_id_name_version_key;

CREATE INDEX model_named ON model (project_id, name, serial DESC);
CREATE INDEX model_visible ON model (project_id, serial DESC) WHERE status <> 'deleting';
CREATE INDEX model_deleted ON model (project_id, serial DESC) WHERE status = 'deleting';
CREATE INDEX model_erasing ON model (erase_at) WHERE status = 'deleting';

-- Models in error that nothing will heal: those that lack files, or a verdict by our fault, are not among them.
CREATE INDEX model_failed ON model (updated_at)
    WHERE status = 'error' AND status_before_missing IS NULL
      AND (validation_id IS NULL OR (validated_at IS NOT NULL AND NOT revalidating));
