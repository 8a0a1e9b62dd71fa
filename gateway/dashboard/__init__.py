"""The operator's dashboard: pages over the management API, for who shows a key once and is then known by a cookie."""
