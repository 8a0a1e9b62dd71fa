"""The README's first screen, run as it stands there by somebody who has just started the gateway."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.endpoints import ENDPOINTS
from providers.pricing.catalogue import CREDIT_SETTING

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MANUAL = "\n".join(page.read_text("utf-8") for page in sorted((ROOT / "docs").glob("*.md")))
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", f"{README}\n{MANUAL}", re.DOTALL | re.MULTILINE)
FARTHING = Path(sys.executable).parent / "farthing"


def blocks(language: str, containing: str) -> list[str]:
    """The code blocks of the README and the manual in a language that contain a text."""
    return [text for name, text in BLOCKS if name == language and containing in text]


class Started:
    """A gateway that `farthing serve` started in an empty directory."""

    def __init__(self, directory: Path, port: str, master: str) -> None:
        self.directory = directory
        self.port = port
        self.environment = os.environ | {"MASTER": master}

    def sh(self, script: str, **more: str) -> str:
        """Run a shell script as the README has it, but for the port."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script.replace("8787", self.port)],
            cwd=self.directory,
            env=self.environment | more,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    directory = tmp_path_factory.mktemp("stranger")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    with subprocess.Popen(
        [FARTHING, "serve"],
        cwd=directory,
        env=environment | {"FARTHING_PORT": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = ""
        deadline = time.monotonic() + 30
        while not port and time.monotonic() < deadline:
            found = re.search(r"listens on http://127\.0\.0\.1:(\d+)", process.stderr.readline())
            port = found[1] if found else ""
        yield Started(directory, port, process.stdout.readline().strip())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_the_first_screen(started: Started) -> None:
    """The four curl blocks mint a key, stream an answer, meet a 402, read the bill and see a revoke bite."""
    mint, stream, cap, revoke = blocks("sh", "curl")
    out = started.sh("; echo '---'\n".join([mint.rstrip(), stream.rstrip(), cap.rstrip(), revoke.rstrip()]))
    minted, streamed, refused, rest = out.split("---\n")
    assert json.loads(minted)["secret"].startswith("fk_test_")
    assert "data: [DONE]" in streamed
    assert "HTTP/1.1 402 Payment Required" in refused
    assert '"spend_cap_exceeded"' in refused
    usage, after = rest.strip().splitlines()
    assert json.loads(usage)["by_key"][0]["blocked"] == 1
    assert json.loads(after)["error"]["code"] == "key_revoked"


@pytest.fixture(scope="module")
def key(started: Started) -> str:
    (mint, *_) = blocks("sh", "curl")
    return str(json.loads(started.sh(mint))["secret"])


def test_the_python_snippet(started: Started, key: str) -> None:
    """The Python snippet prints an answer of each SDK and the 402."""
    (snippet,) = blocks("python", "openai.OpenAI")
    file = started.directory / "snippet.py"
    file.write_text(snippet.replace("8787", started.port))
    lines = started.sh(f"{sys.executable} snippet.py", KEY=key).strip().splitlines()
    assert lines[-1] == "402 spend_cap_exceeded"
    assert len(lines) >= 3


def test_the_javascript_snippet(started: Started, key: str, node_modules: Path) -> None:
    """The JavaScript snippet streams an answer."""
    (snippet,) = blocks("javascript", "new OpenAI")
    (started.directory / "node_modules").symlink_to(node_modules)
    (started.directory / "snippet.mjs").write_text(snippet.replace("8787", started.port))
    assert started.sh("node snippet.mjs", KEY=key).strip()


def test_every_command_has_help() -> None:
    """`--help` names every command that the README names."""
    usage = subprocess.run([FARTHING, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout
    (named,) = blocks("text", "farthing serve |")
    for command in re.findall(r"[a-z]+", named.partition("(")[0].replace("farthing", "")):
        assert command in usage or command in ("mint", "list", "show", "revoke", "rotate", "deliveries")


def test_every_setting_is_in_the_manual() -> None:
    """Every setting that the code reads is documented, and none that it does not."""
    source = (ROOT / "gateway" / "config.py").read_text("utf-8")
    read = set(re.findall(r"FARTHING_[A-Z]+(?:_[A-Z]+)*", source)) | {CREDIT_SETTING}
    read = {name for name in read if not name.startswith("FARTHING_UPSTREAM")}
    documented = set(re.findall(r"FARTHING_[A-Z]+(?:_[A-Z]+)*", README + MANUAL))
    assert read <= documented
    assert {name for name in documented if not name.startswith("FARTHING_UPSTREAM")} <= read


def test_every_endpoint_is_in_the_manual() -> None:
    """Every resource of the management API is named in the manual."""
    for _method, path, _run, _may in ENDPOINTS:
        assert "/".join(path.split("/")[:3]) in MANUAL, path


def test_every_error_is_in_the_manual() -> None:
    """Every code that a client can get has a row, and no row is of a code that is none."""
    said = r'CallError\(\s*[\w.]+,\s*"([a-z_]+)"|code="([a-z_]+)"'
    sources = [*(ROOT / "gateway").rglob("*.py"), *(ROOT / "providers").glob("*.py")]
    codes = {one or other for source in sources for one, other in re.findall(said, source.read_text("utf-8"))}
    documented = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE))
    assert len(codes) > 40
    assert codes - {"farthing"} == documented


def test_the_readme_is_a_first_screen() -> None:
    """And a page of the manual is a subject that one reads in one go."""
    assert len(README.splitlines()) <= 150
    long = {
        page.name: n for page in (ROOT / "docs").glob("*.md") if (n := len(page.read_text("utf-8").splitlines())) > 200
    }
    assert long == {}
