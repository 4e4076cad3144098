"""Lifecycle: owns every stored object, and is the only service that deletes any.

Consumes: model.deleted, model.erased, model.registered, model.restored, object.audit_requested, object.dropped,
project.deleted, upload.aborted, upload.expired, upload.failed.
Emits: object.audited, object.deleted, object.found, object.missing, object.moved, object.unclaimed, project.purged.
Tables: holder, installation, move, object, project, purge, reconciliation, reference, unclaimed.
Owns: objects, in which tier of storage each is, and the models that have them; purges; moves between tiers; audits,
which compare all that with storage; the marks of the buckets.
object.deleted names each key once, object.moved each change of tier, and object.audited ends each audit.

An object is `live` when its model is registered, `dropped` when no model has it any more, `deleted` when it is removed
from storage (see `states`). There is no way back: keys are never used again, since an extraction that is retried writes
under another fence and so under other keys. Handlers only write rows; workers act on them, outside transactions.

    handlers      events become rows, and a signal to a worker
    purge_worker  claims purges by lease, and deletes what they name
    move_worker   claims moves by lease, and copies objects from one tier to the other
    audit_worker  claims slices of an audit by lease: audit_listing lists, audit_scan compares, audit_stop decides
                  whether to act, audit_multiparts looks for multipart uploads that were abandoned
    reads         what clients have read
    ownership     whose buckets they are
    groups        keys in groups that fit an event, a statement and a lease
    states        the states of an object as a table
    store         all SQL

Why no live object is deleted, in whatever order events arrive:

- A purge of an upload's prefixes begins only with the last event of that upload: model.registered, whose objects become
  live in the transaction that schedules the purge; or upload.aborted, expired or failed, after which it is never
  registered. An object under that prefix that a later model shares is among those that were registered.
- Before a purge deletes a key, one statement checks whether it is live, and otherwise marks it as dropped. A
  registration either commits before that, or comes later and finds the key dropped.
- A purge of single keys begins with object.dropped: the registry says that no model has them.
- A model whose lost file was uploaded again is registered with the new key. That key is live from then on, or since the
  registration of the upload that brought it; the old key is dropped. In any order of the three events, only the old key
  is deleted.
- A model that is deleted keeps its references, with an end, until it is erased: it can be restored. Neither the end nor
  the erasure deletes an object: they say when it is expected to go, and which objects no model has (an audit asks about
  those). It goes when object.dropped says so, whichever of these events comes first.
- A project that was deleted has nothing live any more: project.deleted says that the registry has no model and no
  object of it, and never will. Its purge drops what is still live of it, only where that event was recorded; later
  registrations of the project make nothing live. It ends, and says project.purged, when storage lists nothing under the
  project's prefix.

Why an object that is moved is in neither tier at no moment:

- The copy is whole before the row names its tier, and a copy is deleted only where the row names the other tier, after
  a look that it is there. Both only under the lease of the object's move, of which there is one, and which stays until
  nothing is left in the other tier: after a crash, whoever takes it over finds out what is done.
- Who has lost the lease changes no row. It may still delete, up to five minutes after it had made sure that it may
  (later the store refuses that), and a moved object is not moved back within an hour (SLIPWAY_MOVE_REST_S).
- A dropped object is never live again: a purge deletes it from both tiers, and so does a move that finds it dropped.
- Readers look in the hot tier, in the cold one, and again in the hot one (`libs.blobs.reading`).

Why nothing is deleted that this database does not know:

- Each bucket has the id of the installation that owns it, and the number of its last audit (ownership). If the id is
  another one, or this database has not begun that audit (it was restored from a backup, or is a copy), nothing is
  deleted, neither by purges, until an operator takes the bucket over: an older registry may say that an upload has
  expired whose objects were registered since.
- Purges come only from events that this database has seen. An object that no event has named is not deleted for that:
  the registry is asked (object.unclaimed), and answers with object.dropped; so it is about a live object that no model
  has any more. It is asked only about projects that an event has named, and only days after an object of a model was
  stored, or hours after a part. Where more than a small share of the stored objects is unknown, an operator has to
  decide first (audit_stop).

Why no deleted object is taken for a live one:

- object.dropped before its model.registered leaves the key as dropped, which a registration does not change.
- model.registered repeated, or replayed days later: the same. Rows of deleted keys are kept for longer (30 days) than
  events (7 days).
- model.registered after its upload has failed or expired: the registry forbids it; it would be logged.

Why nothing is left behind: an object that is written while a purge passes is found by its later passes, one that is
written even later by the audits. A purge that storage refuses waits longer and longer; after 30 days it is given up
and the audits ask about what it left. A second copy in the tier that the row does not name is found by the audits too,
and removed by a move worker; so are multipart uploads that nobody goes on with.

Why no missing object stays unnoticed, and none is reported in error: an audit looks for every live object, in all
tiers. One that is not listed is looked for by its key at once, and again minutes later; then object.missing is emitted,
once, and object.found when the object is there again. Where a large share seems to be missing, or objects are in a cold
tier of which this process knows nothing, an operator has to decide first. Both events have the time (`at`) of their
finding: of two that arrive in the other order, the later one holds.
"""
