"""One SQLite file: the default. One process serves from it."""
