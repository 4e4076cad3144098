"""The resource `secrets`: credentials for other object stores, which imports name. They are never shown again.

A secret is kept encrypted (libs/sealing), and travels so: what a service needs of it, it decrypts in its own memory.
"""
