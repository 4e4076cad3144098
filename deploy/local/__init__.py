"""The embedded stack: Postgres, NATS, an S3 server and every service as children of one process.

command.py     `slipway up`, in the foreground
up.py          the order of it all: dependencies, services, the first project and key; and back
home.py        the data directory, and what is in it
supervisor.py  keeps servers running        server.py   what they have in common
process.py     one run of one program       launch.py   its first program: dies with us, is not root
postgres.py, nats.py, s3.py, services.py    the servers
unprivileged.py                             who Postgres is where we are root
leftovers.py                                what a killed run left
"""
