"""The embedded stack: Postgres, NATS, an S3 server and the services, run as child processes of one process.

command.py         `slipway up`, in the foreground
up.py              starts everything in order and stops it in reverse order; creates the first project and key
data_directory.py  the data directory: its lock, its secrets, its credentials
object_import.py   imports the objects of an earlier release
supervisor.py      starts servers, and starts them again when they end
server.py          what all servers have in common
process.py         one run of one program
launch.py          the first program of each child: ties its life to ours, stops being root
pidfiles.py        pid files, and how to end what a killed run left running
unprivileged.py    which user Postgres runs as, where this process is root
postgres.py, nats.py, s3.py, services.py   the servers
demo.py, sample.py `make demo`, and the model that it uploads
"""
