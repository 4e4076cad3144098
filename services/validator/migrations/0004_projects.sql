-- What the registry said of projects: how many of their models may be validated at a time, and that they were deleted.
CREATE TABLE project (
    id         text PRIMARY KEY,
    at_once    integer CHECK (at_once > 0),  -- NULL: no limit
    limited_at timestamptz,                  -- when that was said
    deleted_at timestamptz                   -- its rows go from then on, and this one days later
);
CREATE INDEX project_limited ON project (id) WHERE at_once IS NOT NULL;
CREATE INDEX project_deleted ON project (deleted_at) WHERE deleted_at IS NOT NULL;
