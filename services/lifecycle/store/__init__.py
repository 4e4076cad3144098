"""All SQL of lifecycle.

objects       -> stored objects, and which models have them
holders       -> those models, and until when each has its objects
purges        -> deletions that are due
moves         -> moves between tiers that are due or under way
audits        -> the comparison of the tables with storage
unclaimed     -> objects that an audit found, and that no event has named
projects, installation -> what this installation may delete
retention     -> when rows are deleted
"""
