-- What waits for a hook is found without walking all that it ever got.
CREATE INDEX deliveries_waiting ON deliveries (hook_id, seq) WHERE state = 'pending';
