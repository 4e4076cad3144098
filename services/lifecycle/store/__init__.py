"""All SQL of lifecycle.

objects       -> stored objects, and which models have them
purges        -> deletions that are due
audits        -> the comparison of the tables with storage
unclaimed     -> objects that an audit found, and that no event has named
projects, installation -> what this installation may delete
retention     -> when rows are deleted
"""
