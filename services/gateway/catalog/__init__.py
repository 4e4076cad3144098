"""The resource `catalog`: models that their projects share with all others of this installation.

A model is in the catalog while it is shared and can be used (ready, active), and its project is enabled and has the
feature `model_sharing`. One that loses a file leaves it, and is back when it is whole again.

Owns: of the table `model` the columns `is_shared`, `shared_at`, `catalog_role`, `featured` and `deployment_count`.
"""
