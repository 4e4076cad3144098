"""Projects, their keys, and who calls. For operators: `/admin/v1/projects`, with the operator's key."""
