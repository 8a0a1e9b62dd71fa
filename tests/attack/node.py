"""Bodies as JavaScript reads them: one Node process for a run, asked line by line.

Promises: of JSON, the two readings that its servers make: `JSON.parse` of a buffer's text, where bytes that are not
UTF-8 become U+FFFD, and what `Response.json()` decodes, without a byte order mark. Of a form, what
`Response.formData()` finds. None where it refuses.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from typing import Any

_SCRIPT = r"""
const lines = require('readline').createInterface({input: process.stdin, crlfDelay: Infinity});
const said = read => { try { return JSON.stringify(read()) ?? 'null'; } catch { return 'null'; } };
const json = body => `[${said(() => JSON.parse(body.toString()))},`
  + `${said(() => JSON.parse(new TextDecoder().decode(body)))}]`;
const form = async (type, body) => {
  const parts = [];
  for (const [name, value] of await new Response(body, {headers: {'content-type': type}}).formData()) {
    const content = typeof value === 'string' ? Buffer.from(value) : Buffer.from(await value.arrayBuffer());
    parts.push([name, typeof value !== 'string', content.toString('base64')]);
  }
  return JSON.stringify(parts);
};
(async () => {
  for await (const line of lines) {
    const [type, encoded] = JSON.parse(line);
    const body = Buffer.from(encoded, 'base64');
    process.stdout.write((type === null ? json(body) : await form(type, body).catch(() => 'null')) + '\n');
  }
})();
"""


def program() -> str:
    """Where Node is. Fails where it is not installed."""
    found = shutil.which("node")
    assert found is not None, "install Node 20 or newer, as the tests of JavaScript's clients need it, too"
    return found


class Node:
    """The process. A context manager."""

    def __enter__(self) -> Node:
        self._process = subprocess.Popen([program(), "-e", _SCRIPT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=20)  # its input ends, and so does it
        assert self._process.returncode == 0

    def json(self, body: bytes) -> list[Any]:
        """What it reads in a body, in both ways."""
        return list(self._asked(None, body))

    def form(self, content_type: str, body: bytes) -> list[tuple[str, bool, bytes]] | None:
        """Every part: its name, whether it is a file, its content."""
        parts = self._asked(content_type, body)
        return parts and [(name, is_file, base64.b64decode(content)) for name, is_file, content in parts]

    def _asked(self, content_type: str | None, body: bytes) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        asked = json.dumps([content_type, base64.b64encode(body).decode()])
        self._process.stdin.write(asked.encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
