"""The embedded stack: Postgres, NATS, an S3 server and every service as children of one process."""
