"""HTTP/1.1 as both edges speak it: bytes in, meaning out; no socket, no clock, no loop."""
