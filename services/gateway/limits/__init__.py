"""The resource `limits`: what a project and a key may use at most, what a project uses, and how often it may ask.

A limit is the project's own, else the installation's default, which is a setting; a key may have limits beside. Both
come with the statement that authenticates a request. Limits of what is kept are checked where an upload is opened, by
one opening of a project at a time; requests are counted in Postgres, over all gateways.

Owns: the tables `project_usage`, `project_usage_change` and `request_window`; the columns `limits` of `project` and
`api_key`.
"""
