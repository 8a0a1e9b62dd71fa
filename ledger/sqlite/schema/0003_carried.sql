-- What the events came to that were dropped when their time was over, so that the audit still adds up: by who
-- called, by day and model (as the rollup), and by counter. Written in the transaction that drops them.
CREATE TABLE carried (
  account_id     INTEGER NOT NULL,
  subject_id     INTEGER NOT NULL,
  run_id         INTEGER NOT NULL,
  events         INTEGER NOT NULL,
  cost_micros    INTEGER NOT NULL,
  cost_picos     INTEGER NOT NULL,
  overrun_micros INTEGER NOT NULL,
  PRIMARY KEY (account_id, subject_id, run_id)
) WITHOUT ROWID;
CREATE TABLE carried_days (
  day_ms         INTEGER NOT NULL,
  account_id     INTEGER NOT NULL,
  subject_id     INTEGER NOT NULL,
  provider       TEXT     NOT NULL,
  model          TEXT     NOT NULL,
  requests           INTEGER NOT NULL,
  blocked            INTEGER NOT NULL,
  cost_micros        INTEGER NOT NULL,
  cost_picos         INTEGER NOT NULL,
  price_micros       INTEGER NOT NULL,
  latency_ms_sum     INTEGER NOT NULL,
  input_tokens       INTEGER NOT NULL,
  output_tokens      INTEGER NOT NULL,
  cache_read_tokens  INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  reasoning_tokens   INTEGER NOT NULL,
  characters         INTEGER NOT NULL,
  audio_ms           INTEGER NOT NULL,
  images             INTEGER NOT NULL,
  PRIMARY KEY (day_ms, account_id, subject_id, provider, model)
) WITHOUT ROWID;
CREATE TABLE carried_legs (
  limit_id        INTEGER NOT NULL,
  subject_id      INTEGER NOT NULL,
  window_start_ms INTEGER NOT NULL,
  used            INTEGER NOT NULL,
  PRIMARY KEY (limit_id, subject_id, window_start_ms)
) WITHOUT ROWID;
