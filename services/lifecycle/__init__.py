"""Lifecycle: owns every stored object, and is the only one that deletes any.

Consumes: model.registered; upload.aborted, upload.expired, upload.failed; object.dropped.
Emits: object.deleted (once a key), object.unclaimed.
Owns: objects and who refers to them; purges; the reconciliation of both with what is in storage.

An object is `live` once its model is registered, `dropped` once nothing refers to it, `deleted` once it is gone from
storage. There is no way back: keys are never used again (an extraction that is retried writes the same bytes to the
same keys, but before any of them is registered). Handlers only write rows; purges do the work, outside of any
transaction.

Why no live object is deleted, in whatever order events come:

- A purge of an upload's prefixes begins only with the registry's last word on that upload: model.registered, whose
  objects become live in the very transaction that schedules the purge; or aborted, expired, failed, after which it will
  never be registered. An object under that prefix which a later model shares is among those that were registered.
- A purge asks for each key, when it is about to delete it, whether it is live; the same statement marks those that are
  not as dropped. A registration either commits before and is seen, or comes later and finds its keys dropped.
- A purge of single keys begins with object.dropped, that is when the registry says that nothing refers to them.

Why no deleted object is taken for a live one:

- object.dropped before its model.registered: leaves the key behind as dropped, which a registration does not undo.
- model.registered repeated, or replayed days later: the same. Deleted keys are remembered for longer (30 days) than
  events are kept (7 days).
- model.registered after its upload failed or expired: the registry forbids it; were it to happen, it is logged.

Why nothing stays behind: whoever was writing when a purge passed is met by its later passes, and whatever comes even
later by the reconciliation, which asks the registry about every object that it was never told of (object.unclaimed).
"""
