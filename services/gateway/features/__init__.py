"""The resource `features`: what the operator has switched on for a project. A new project has none.

Owns: the table `project_feature`.
"""
