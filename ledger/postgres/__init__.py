"""One PostgreSQL database, from which many gateways on many machines serve. The only folder that knows asyncpg."""
