-- The tables of sqlite/schema/0003_carried.sql in PostgreSQL's words. Events are not partitioned by time: an event's id must be
-- unique for ever, for it is what makes a settlement happen once, and a partitioned table cannot promise that.
CREATE TABLE carried (
  account_id     BIGINT NOT NULL,
  subject_id     BIGINT NOT NULL,
  run_id         BIGINT NOT NULL,
  events         BIGINT NOT NULL,
  cost_micros    BIGINT NOT NULL,
  cost_picos     BIGINT NOT NULL,
  overrun_micros BIGINT NOT NULL,
  PRIMARY KEY (account_id, subject_id, run_id)
);
CREATE TABLE carried_days (
  day_ms         BIGINT NOT NULL,
  account_id     BIGINT NOT NULL,
  subject_id     BIGINT NOT NULL,
  provider       TEXT COLLATE "C" NOT NULL,
  model          TEXT COLLATE "C" NOT NULL,
  requests           BIGINT NOT NULL,
  blocked            BIGINT NOT NULL,
  cost_micros        BIGINT NOT NULL,
  cost_picos         BIGINT NOT NULL,
  price_micros       BIGINT NOT NULL,
  latency_ms_sum     BIGINT NOT NULL,
  input_tokens       BIGINT NOT NULL,
  output_tokens      BIGINT NOT NULL,
  cache_read_tokens  BIGINT NOT NULL,
  cache_write_tokens BIGINT NOT NULL,
  reasoning_tokens   BIGINT NOT NULL,
  characters         BIGINT NOT NULL,
  audio_ms           BIGINT NOT NULL,
  images             BIGINT NOT NULL,
  PRIMARY KEY (day_ms, account_id, subject_id, provider, model)
);
CREATE TABLE carried_legs (
  limit_id        BIGINT NOT NULL,
  subject_id      BIGINT NOT NULL,
  window_start_ms BIGINT NOT NULL,
  used            BIGINT NOT NULL,
  PRIMARY KEY (limit_id, subject_id, window_start_ms)
);
