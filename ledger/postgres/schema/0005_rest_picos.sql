-- Sums of exact costs are kept without what was charged of them: cost_picos = cost_micros * 1,000,000 + rest_picos. As
-- picos they would leave 64 bits after nine million dollars.
UPDATE rollups SET cost_picos = CAST(CAST(cost_picos AS NUMERIC) - CAST(cost_micros AS NUMERIC) * 1000000 AS BIGINT);
ALTER TABLE rollups RENAME COLUMN cost_picos TO rest_picos;
UPDATE carried SET cost_picos = CAST(CAST(cost_picos AS NUMERIC) - CAST(cost_micros AS NUMERIC) * 1000000 AS BIGINT);
ALTER TABLE carried RENAME COLUMN cost_picos TO rest_picos;
UPDATE carried_days SET cost_picos = CAST(CAST(cost_picos AS NUMERIC) - CAST(cost_micros AS NUMERIC) * 1000000 AS BIGINT);
ALTER TABLE carried_days RENAME COLUMN cost_picos TO rest_picos;
