-- Counters, rollups and events by their exact keys; with `locking`, the counters are locked first.
CREATE OR REPLACE FUNCTION pg_temp.farthing_fetch(
  locking BOOLEAN, c_limit BIGINT[], c_subject BIGINT[], c_window BIGINT[],
  r_day BIGINT[], r_account BIGINT[], r_subject BIGINT[], r_provider TEXT[], r_model TEXT[], e_id TEXT[],
  OUT counter_rows JSON, OUT rollup_rows JSON, OUT event_rows JSON
) LANGUAGE plpgsql AS $$
BEGIN
  IF locking THEN  -- what does not exist cannot be locked
    INSERT INTO counters (limit_id, subject_id, window_start_ms)
    SELECT k.a, k.b, k.c FROM unnest(c_limit, c_subject, c_window) AS k (a, b, c)
    ON CONFLICT (limit_id, subject_id, window_start_ms) DO UPDATE SET used = counters.used;
  END IF;
  SELECT
    (
      SELECT json_agg(json_build_array(c.limit_id, c.subject_id, c.window_start_ms, c.used, c.held, c.unsettled))
      FROM unnest(c_limit, c_subject, c_window) AS k (a, b, c) JOIN counters AS c
        ON c.limit_id = k.a AND c.subject_id = k.b AND c.window_start_ms = k.c
    ),
    (
      SELECT json_agg(json_build_array(r.day_ms, r.account_id, r.subject_id, r.provider, r.model,
        encode(r.latency_histogram, 'hex'), r.requests, r.blocked, r.cost_micros, r.rest_picos, r.price_micros,
        r.input_tokens, r.output_tokens, r.cache_read_tokens, r.cache_write_tokens, r.reasoning_tokens, r.characters,
        r.audio_ms, r.images, r.latency_ms_sum))
      FROM unnest(r_day, r_account, r_subject, r_provider, r_model) AS k (a, b, c, d, e) JOIN rollups AS r
        ON r.day_ms = k.a AND r.account_id = k.b AND r.subject_id = k.c AND r.provider = k.d AND r.model = k.e
    ),
    (SELECT json_agg(json_build_array(e.id, e.cost_micros)) FROM events AS e WHERE e.id = ANY (e_id))
  INTO counter_rows, rollup_rows, event_rows;
END $$
