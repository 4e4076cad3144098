-- Counts claims: whoever has lost the lease of a purge has an old number, and changes nothing.
ALTER TABLE purge ADD COLUMN fence bigint NOT NULL DEFAULT 0;
