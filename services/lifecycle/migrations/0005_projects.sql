-- Projects that were deleted: nothing of them is live any more, and nothing will be.
ALTER TABLE project ADD COLUMN deleted_at timestamptz;  -- when the registry said so
CREATE INDEX object_live_of ON object (project_id, key) WHERE state = 'live';
