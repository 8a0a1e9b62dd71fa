"""Calls over WebSockets: a handshake taken, a session that passes messages and settles once."""
