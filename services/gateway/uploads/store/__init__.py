"""All SQL of uploads: the uploads themselves, their streams of parts, their files.

Locks are taken in one order everywhere: upload, then stream, then file or part, then model.
"""
