"""The services: one process each, one Postgres schema each; none imports another."""
