"""The resource `members`: who works in a project, and as what. A key of a member can do no more than the member.

Owns: the table `member`.
"""
