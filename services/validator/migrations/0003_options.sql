-- How the client of a model wants it to be checked.
ALTER TABLE validation ADD COLUMN options jsonb;  -- libs.contracts.ValidationOptions; NULL: as any model
