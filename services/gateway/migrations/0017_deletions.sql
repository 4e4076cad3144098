-- Projects that are deleted, with everything of them; the row stays, so that operators see when it was done.
ALTER TABLE project
    ADD COLUMN deleting_at  timestamptz,               -- since when; its keys are revoked as well
    ADD COLUMN purge_asks   integer NOT NULL DEFAULT 0, -- how often storage was asked to forget it
    ADD COLUMN purge_due_at timestamptz,               -- when it is asked again
    ADD COLUMN purged_at    timestamptz,               -- storage has nothing of it any more
    ADD COLUMN deleted_at   timestamptz,               -- and neither has the registry
    ADD CONSTRAINT project_deleting_check CHECK (deleting_at IS NULL OR revoked_at IS NOT NULL),
    ADD CONSTRAINT project_deleted_check CHECK (deleted_at IS NULL OR purged_at IS NOT NULL);
CREATE INDEX project_deleting ON project (deleting_at) WHERE deleting_at IS NOT NULL AND deleted_at IS NULL;

-- A deleted project no longer takes its name and its slug.
CREATE UNIQUE INDEX project_name ON project (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX project_slug ON project (slug) WHERE deleted_at IS NULL;
ALTER TABLE project DROP CONSTRAINT project_name_key, DROP CONSTRAINT project_slug_key;
