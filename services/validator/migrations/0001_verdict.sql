-- What was found out in one validation; kept to be told again when the request is repeated.
CREATE TABLE verdict (
    validation_id text PRIMARY KEY,
    model_id      text NOT NULL,
    passed        boolean NOT NULL,       -- no finding is an error
    report        jsonb NOT NULL,         -- libs.contracts.Report
    decided_at    timestamptz NOT NULL
);
CREATE INDEX verdict_model ON verdict (model_id, decided_at);
CREATE INDEX verdict_decided ON verdict (decided_at);
