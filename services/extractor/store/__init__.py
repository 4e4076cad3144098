"""All SQL of the extractor.

streams    -> extractions and their stored parts, as events report them
leases     -> claiming extractions, and how an attempt ends
files      -> what an attempt reads, and what it has stored
retention  -> when rows are deleted
"""
