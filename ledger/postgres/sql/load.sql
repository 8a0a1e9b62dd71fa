-- What stands on the accounts and calls that a batch names; with `locking`, the accounts are locked first.
CREATE OR REPLACE FUNCTION pg_temp.farthing_load(
  locking BOOLEAN, asked BIGINT[], others BIGINT[], calls TEXT[],
  OUT clock_ms BIGINT, OUT account_rows JSON, OUT limit_rows JSON, OUT hold_rows JSON
) LANGUAGE plpgsql AS $$
DECLARE
  own BIGINT[] := asked || ARRAY(
    SELECT unnest(ARRAY[h.account_id, h.subject_id, h.run_id]) FROM holds AS h WHERE h.id = ANY (calls)
  );
  chains BIGINT[];
BEGIN
  IF locking THEN
    PERFORM 1 FROM accounts AS a WHERE a.id = ANY (own) ORDER BY a.id FOR NO KEY UPDATE;
  END IF;
  clock_ms := now_ms();
  SELECT array_agg(DISTINCT chain.one) INTO chains FROM (
    SELECT unnest(CAST(string_to_array(trim(BOTH '/' FROM a.path), '/') AS BIGINT[])) AS one
    FROM accounts AS a WHERE a.id = ANY (own)
  ) AS chain;
  SELECT
    (
      SELECT json_agg(json_build_array(json_build_array(a.id, a.public_id, a.path, a.kind, a.livemode, a.disabled, a.revoked_ms,
        a.expires_ms, a.version, a.spent_micros, a.carry_picos, a.price_micros, a.price_carry_picos,
        a.overrun_micros, a.last_used_ms, a.boosts,
        CASE WHEN a.cap_window IS NULL THEN p.cap_micros ELSE a.cap_micros END,
        COALESCE(a.cap_window, p.cap_window, 'total'), a.plan_id, a.own_limits, a.hooks,
        COALESCE(a.alert_at, p.alert_at), a.anchor_ms, a.cap_window IS NULL), a.revision, p.version))
      FROM accounts AS a LEFT JOIN accounts AS p ON p.id = a.plan_id
      WHERE a.id = ANY (chains || others)
    ),
    (
      SELECT json_agg(json_build_array(account_id, id, public_id, role, unit, max, "window", timezone, anchor_ms,
        match, per, action, alert_at) ORDER BY role DESC, id)
      FROM limits
      WHERE removed_ms IS NULL AND account_id IN (
        SELECT unnest(ARRAY[a.id, a.plan_id]) FROM accounts AS a WHERE a.id = ANY (chains || others)
      )
    ),
    (
      SELECT json_agg(json_build_array(h.id, h.account_id, h.subject_id, h.run_id, h.owner, h.state, h.created_ms,
        h.expires_ms, h.amount_micros, h.legs, h.call)) FROM holds AS h WHERE h.id = ANY (calls)
    )
  INTO account_rows, limit_rows, hold_rows;
END $$
