"""The way to a provider: HTTP and WebSockets to real ones, and the simulator behind the same interfaces."""
