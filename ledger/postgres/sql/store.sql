-- Stores what a batch has changed, if what it was decided upon still stands; prepared under the name `farthing_commit`,
-- its call is a transaction of its own. `clock` is the time by which it was decided (-1: not the database's), `v_ids` and
-- `v_versions` are the accounts and plans whose limits it rests upon, `maxima` what each counter may then have at most.
-- The arrays of a table are its columns, in the order of `ledger/rows.py`.
CREATE OR REPLACE FUNCTION pg_temp.farthing_store(
  clock BIGINT, v_ids BIGINT[], v_versions BIGINT[], maxima BIGINT[],
  -- accounts, in the order of their ids
  a_id BIGINT[], a_revision BIGINT[], a_spent_micros BIGINT[], a_carry_picos BIGINT[], a_price_micros BIGINT[],
  a_price_carry_picos BIGINT[], a_overrun_micros BIGINT[], a_last_used_ms BIGINT[],
  -- what is added to counters, in the order of their keys
  c_limit_id BIGINT[], c_subject_id BIGINT[], c_window_start_ms BIGINT[], c_used BIGINT[], c_held BIGINT[],
  c_unsettled BIGINT[],
  -- holds
  h_id TEXT[], h_account_id BIGINT[], h_subject_id BIGINT[], h_run_id BIGINT[], h_owner TEXT[], h_state TEXT[],
  h_created_ms BIGINT[], h_expires_ms BIGINT[], h_amount_micros BIGINT[], h_legs TEXT[], h_call TEXT[],
  -- holds that are over
  ended TEXT[],
  -- rollups
  r_day_ms BIGINT[], r_account_id BIGINT[], r_subject_id BIGINT[], r_provider TEXT[], r_model TEXT[],
  r_requests BIGINT[], r_blocked BIGINT[], r_cost_micros BIGINT[], r_rest_picos BIGINT[], r_price_micros BIGINT[],
  r_input_tokens BIGINT[], r_output_tokens BIGINT[], r_cache_read_tokens BIGINT[], r_cache_write_tokens BIGINT[],
  r_reasoning_tokens BIGINT[], r_characters BIGINT[], r_audio_ms BIGINT[], r_images BIGINT[],
  r_latency_ms_sum BIGINT[], r_latency_histogram BYTEA[],
  -- events
  e_id TEXT[], e_account_id BIGINT[], e_subject_id BIGINT[], e_run_id BIGINT[], e_created_ms BIGINT[],
  e_settled_ms BIGINT[], e_mode TEXT[], e_provider TEXT[], e_model TEXT[], e_route TEXT[], e_decision TEXT[],
  e_reason TEXT[], e_status TEXT[], e_usage TEXT[], e_cost_micros BIGINT[], e_cost_picos BIGINT[],
  e_price_micros BIGINT[], e_price_version TEXT[], e_held_micros BIGINT[], e_http_status BIGINT[],
  e_latency_ms BIGINT[], e_ttft_ms BIGINT[], e_stream BIGINT[], e_metadata TEXT[], e_flags TEXT[], e_legs TEXT[],
  e_upstream TEXT[],
  -- messages: decided (0), or written if the counter of this number then has used as much
  m_once TEXT[], m_type TEXT[], m_until_ms BIGINT[], m_used BIGINT[], m_data TEXT[], m_subject_id BIGINT[],
  m_account_id BIGINT[], m_counter BIGINT[], m_threshold BIGINT[],
  OUT clock_ms BIGINT, OUT all_used BIGINT[], OUT all_held BIGINT[], OUT all_unsettled BIGINT[]
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  fresh BOOLEAN;
  counted BIGINT;
BEGIN
  clock_ms := now_ms();
  fresh := clock < 0 OR abs(clock - clock_ms) <= 1000;  -- a gateway's idea of this clock is that near to it
  IF fresh THEN
    UPDATE accounts AS a SET
      spent_micros = n.spent_micros, carry_picos = n.carry_picos, price_micros = n.price_micros, price_carry_picos =
      n.price_carry_picos, overrun_micros = n.overrun_micros, last_used_ms = n.last_used_ms, revision = a.revision + 1
    FROM unnest(
      a_id, a_revision, a_spent_micros, a_carry_picos, a_price_micros, a_price_carry_picos, a_overrun_micros,
      a_last_used_ms
    ) AS n (
      id, revision, spent_micros, carry_picos, price_micros, price_carry_picos, overrun_micros, last_used_ms
    ) WHERE a.id = n.id AND a.revision = n.revision;
    GET DIAGNOSTICS counted = ROW_COUNT;
    fresh := counted = cardinality(a_id);
  END IF;
  IF fresh THEN
    WITH added AS (
      INSERT INTO counters AS c (limit_id, subject_id, window_start_ms, used, held, unsettled)
      SELECT * FROM unnest(c_limit_id, c_subject_id, c_window_start_ms, c_used, c_held, c_unsettled)
      ON CONFLICT (limit_id, subject_id, window_start_ms) DO UPDATE SET
        used = c.used + excluded.used, held = c.held + excluded.held, unsettled = c.unsettled + excluded.unsettled
      RETURNING c.limit_id, c.subject_id, c.window_start_ms, c.used, c.held, c.unsettled
    )
    SELECT
      array_agg(a.used ORDER BY limit_id, subject_id, window_start_ms),
      array_agg(a.held ORDER BY limit_id, subject_id, window_start_ms),
      array_agg(a.unsettled ORDER BY limit_id, subject_id, window_start_ms)
    INTO all_used, all_held, all_unsettled FROM added AS a;
    fresh := NOT EXISTS (
      SELECT 1 FROM unnest(all_used, all_held, all_unsettled, maxima) AS n (u, h, s, most) WHERE u + h + s > most
    ) AND (
      SELECT count(*) FROM unnest(v_ids, v_versions) AS n (id, version) JOIN accounts AS a
        ON a.id = n.id AND a.version = n.version
    ) = cardinality(v_ids);
  END IF;
  IF NOT fresh THEN
    RAISE EXCEPTION 'what this was decided upon has changed' USING ERRCODE = 'FA001';
  END IF;
  INSERT INTO holds (
    id, account_id, subject_id, run_id, owner, state, created_ms, expires_ms, amount_micros, legs, call
  ) SELECT * FROM unnest(
    h_id, h_account_id, h_subject_id, h_run_id, h_owner, h_state, h_created_ms, h_expires_ms, h_amount_micros, h_legs,
    h_call
  ) ON CONFLICT (id) DO UPDATE SET
    owner = excluded.owner, state = excluded.state, expires_ms = excluded.expires_ms, amount_micros =
    excluded.amount_micros, legs = excluded.legs;
  DELETE FROM holds WHERE id = ANY (ended);
  INSERT INTO rollups (
    day_ms, account_id, subject_id, provider, model, requests, blocked, cost_micros, rest_picos, price_micros,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, characters, audio_ms,
    images, latency_ms_sum, latency_histogram
  ) SELECT * FROM unnest(
    r_day_ms, r_account_id, r_subject_id, r_provider, r_model, r_requests, r_blocked, r_cost_micros, r_rest_picos,
    r_price_micros, r_input_tokens, r_output_tokens, r_cache_read_tokens, r_cache_write_tokens, r_reasoning_tokens,
    r_characters, r_audio_ms, r_images, r_latency_ms_sum, r_latency_histogram
  ) ON CONFLICT (day_ms, account_id, subject_id, provider, model) DO UPDATE SET
    requests = excluded.requests, blocked = excluded.blocked, cost_micros = excluded.cost_micros, rest_picos =
    excluded.rest_picos, price_micros = excluded.price_micros, input_tokens = excluded.input_tokens, output_tokens =
    excluded.output_tokens, cache_read_tokens = excluded.cache_read_tokens, cache_write_tokens =
    excluded.cache_write_tokens, reasoning_tokens = excluded.reasoning_tokens, characters = excluded.characters,
    audio_ms = excluded.audio_ms, images = excluded.images, latency_ms_sum = excluded.latency_ms_sum,
    latency_histogram = excluded.latency_histogram;
  IF cardinality(m_type) > 0 THEN
    INSERT INTO messages (
      once, type, created_ms, until_ms, used, data, account_id, key_id, profile, plan, livemode, subject_id,
      subject_kind, subject
    )
    SELECT
      n.once, n.type, clock_ms, CASE WHEN n.until_ms = 0 THEN clock_ms ELSE n.until_ms END,
      CASE WHEN n.counter = 0 THEN n.used ELSE all_used[n.counter] END, n.data,
      k.id, k.public_id, k.profile, p.public_id, k.livemode, n.subject_id, s.kind, s.subject
    FROM unnest(
      m_once, m_type, m_until_ms, m_used, m_data, m_subject_id, m_account_id, m_counter, m_threshold
    ) AS n (once, type, until_ms, used, data, subject_id, account_id, counter, threshold)
    JOIN accounts AS o ON o.id = n.account_id
    JOIN accounts AS k ON k.id = CASE WHEN o.kind IN ('end_user', 'run') THEN o.parent_id ELSE o.id END
    LEFT JOIN accounts AS p ON p.id = k.plan_id
    LEFT JOIN accounts AS s ON s.id = n.subject_id
    WHERE n.counter = 0 OR all_used[n.counter] >= n.threshold
    ORDER BY n.once  -- nobody waits in a circle for who writes the same
    ON CONFLICT (once) DO NOTHING;
  END IF;
  IF cardinality(e_id) > 0 THEN
    -- Drawn last: whoever waits for the events' numbers holds every other lock that its transaction will need.
    PERFORM pg_advisory_xact_lock(5095541, 2);
    INSERT INTO events (
      seq,
      id, account_id, subject_id, run_id, created_ms, settled_ms, mode, provider, model, route, decision, reason,
      status, usage, cost_micros, cost_picos, price_micros, price_version, held_micros, http_status, latency_ms,
      ttft_ms, stream, metadata, flags, legs, upstream
    ) SELECT nextval('event_seq'), n.* FROM unnest(
      e_id, e_account_id, e_subject_id, e_run_id, e_created_ms, e_settled_ms, e_mode, e_provider, e_model, e_route,
      e_decision, e_reason, e_status, e_usage, e_cost_micros, e_cost_picos, e_price_micros, e_price_version,
      e_held_micros, e_http_status, e_latency_ms, e_ttft_ms, e_stream, e_metadata, e_flags, e_legs,
      e_upstream
    ) AS n;
  END IF;
END $$
