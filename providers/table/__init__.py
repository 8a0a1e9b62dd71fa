"""What each family of providers can be asked: rows, one module each. `providers.operations` puts them together."""
