"""The client for programs without an event loop: the same calls, each waits for its answer.

client.py     Client, with the calls of AsyncClient itself
resources.py  its resources; generated from those of AsyncClient
loop.py       the thread in which everything happens
"""

from libs.client.blocking.client import Client
from libs.client.blocking.loop import Items
from libs.client.blocking.resources import SyncCatalog, SyncImports, SyncModels, SyncSecrets, SyncUploads

__all__ = ["Client", "Items", "SyncCatalog", "SyncImports", "SyncModels", "SyncSecrets", "SyncUploads"]
