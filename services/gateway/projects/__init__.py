"""Projects, their keys, and who calls. Operators work on them at `/admin/v1/projects`, with the operator's key.

What a caller is told: 401 for no, an unknown, an expired or a revoked key (or one of a revoked project), with one
message for all; 403 for a good key that lacks the scope; 404 for the path of another project, whether that
project exists or not.
"""
