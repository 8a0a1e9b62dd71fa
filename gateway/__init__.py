"""The hall: HTTP in, HTTP out, the process and the command line. The only room that knows Starlette and aiohttp."""
