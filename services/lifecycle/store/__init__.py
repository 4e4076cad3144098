"""All SQL of lifecycle, one function a statement: objects, purges, the reconciliation."""
