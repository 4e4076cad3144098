"""Lifecycle: owns every stored object, and is the only one that deletes any.

Consumes: model.registered, object.audit_requested, object.dropped, upload.aborted, upload.expired, upload.failed.
Emits: object.audited, object.deleted, object.found, object.missing, object.unclaimed.
Tables: installation, object, project, purge, reconciliation, reference, unclaimed.
Owns: objects and who refers to them; purges; audits, which compare both with what is in storage; the bucket's mark.
object.deleted names each key once, and object.audited ends each audit.

An object is `live` once its model is registered, `dropped` once nothing refers to it, `deleted` once it is gone from
storage. There is no way back: keys are never used again (an extraction that is retried writes under another fence, thus
under other keys). Handlers only write rows; purges do the work, outside of any transaction.

Why no live object is deleted, in whatever order events come:

- A purge of an upload's prefixes begins only with the registry's last word on that upload: model.registered, whose
  objects become live in the very transaction that schedules the purge; or aborted, expired, failed, after which it will
  never be registered. An object under that prefix which a later model shares is among those that were registered.
- A purge asks for each key, when it is about to delete it, whether it is live; the same statement marks those that are
  not as dropped. A registration either commits before and is seen, or comes later and finds its keys dropped.
- A purge of single keys begins with object.dropped, that is when the registry says that nothing refers to them.
- A model that is healed is registered again with its new key, which is live from then on, or was before, by the upload
  that brought it; the old key is dropped. In whichever order the three events come, only the old key goes.

Why nothing is deleted that this database cannot know:

- The bucket carries the id of the installation that owns it, and the number of its last audit (ownership). With another
  id, or an audit that this database has not begun (it was restored from a backup, or is a copy), nothing is deleted at
  all, by purges neither, until an operator takes the bucket over: what an older registry says of an upload (that it
  expired, say) may be wrong about objects that were registered since.
- Purges come only from events that this database saw. What no event named is never deleted for that alone: the registry
  is asked (object.unclaimed), and answers object.dropped. It is asked only about projects that an event has named, days
  after an object of a model was stored, hours after a part; and about nothing where more than a small share of what is
  stored is unknown (stopping), until an operator decides.

Why no deleted object is taken for a live one:

- object.dropped before its model.registered: leaves the key behind as dropped, which a registration does not undo.
- model.registered repeated, or replayed days later: the same. Deleted keys are remembered for longer (30 days) than
  events are kept (7 days).
- model.registered after its upload failed or expired: the registry forbids it; were it to happen, it is logged.

Why nothing stays behind: whoever was writing when a purge passed is met by its later passes, and whatever comes even
later by the audits. A purge that storage refuses waits longer and longer; after 30 days it is given up, and what it
left is asked about again.

Why no missing object stays unnoticed, and none is reported for nothing: an audit looks for every live object; one that
is not listed is asked for by its key at once and again minutes later, then object.missing is emitted, once, and
object.found when it is there again. Where a large share seems gone, nothing is said until an operator decides.
Both carry the time (`at`) of what they tell: of two that arrive in the other order the later one is true.
"""
