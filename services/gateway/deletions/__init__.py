"""The resource `deletions`: a project goes with everything of it.

An operator asks for it; from then on no key of the project works. Sweepers abort its uploads and erase its models, some
at a time, as if their clients had done it, so that every service hears of each. When the registry has nothing left, it
says so (project.deleted), again and again until lifecycle answers that storage has nothing left either
(project.purged); then the rows of uploads, keys and whatever else names the project go, and the project's own says when
that was done. Its name and slug can be used again.

Consumes: project.purged.
Owns: the columns of `project` about its deletion.
"""
