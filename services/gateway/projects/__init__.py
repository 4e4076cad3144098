"""The resource `projects`: projects and their keys, and whose key a request has.

A request gets 401 without a key, or with one that is unknown, expired or revoked (itself or with its project), with one
message for all of these; 403 with a good key that lacks the scope; 404 below the path of another project, whether that
project exists or not.

Owns: the tables `project` and `api_key`.
"""
