"""Writes the generated pages of docs/: `make docs`.

pages.py      which pages there are, and what writes each
events.py     docs/events.md, and the events and tables in services/*/__init__.py
findings.py   docs/findings.md from the calls that make findings, whose texts are found by texts.py
settings.py   docs/settings.md from the config Structs and the comments beside their fields
states.py     docs/states.md from the tables in `states.py` of the services
blocking.py   libs/client/blocking/resources.py from the resources of the async client
openapi.py    docs/openapi.json from the routes of the gateway

A test compares every committed page with what is generated.
"""
