"""Settings from the environment and a `.env` file."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from gateway import config
from tests.certificates import Certificates


def test_every_setting_has_a_default() -> None:
    """Nothing has to be set."""
    settings = config.load({})
    assert (settings.host, settings.port, settings.database_url) == ("127.0.0.1", 8787, "sqlite:///farthing.db")
    assert settings.places["openai"] == config.Place("https://api.openai.com", "")


def test_a_credit_s_price_is_exact() -> None:
    """Dollars become picos without a float between."""
    assert config.load({}).picos_per_credit == 80_000_000
    assert config.load({"FARTHING_ELEVENLABS_USD_PER_CREDIT": "0.000066"}).picos_per_credit == 66_000_000
    assert config.load({"FARTHING_ELEVENLABS_USD_PER_CREDIT": "1"}).picos_per_credit == 10**12


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A `.env` file fills in what the environment does not say."""
    file = tmp_path / ".env"
    file.write_text("FARTHING_PORT=1111\nOPENAI_API_KEY=sk-file\n")
    settings = config.load({"FARTHING_PORT": "2222"}, file)
    assert settings.port == 2222
    assert settings.places["openai"].credential == "sk-file"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FARTHING_PORT", "http"),
        ("FARTHING_PORT", "70000"),
        ("FARTHING_PORT", "-1"),
        ("FARTHING_LOG_LEVEL", "loud"),
        ("FARTHING_MASTER_KEY", "short"),
        ("FARTHING_MASTER_KEY", "with a space but long enough"),
        ("FARTHING_UNSETTLED", "forget"),
        ("FARTHING_DISCONNECT_DRAIN_S", "1.5"),
        ("FARTHING_WORKERS", "0"),
        ("FARTHING_WORKERS", "65"),
        ("FARTHING_EVENTS_RETENTION_DAYS", "6"),
        ("FARTHING_EVENTS_RETENTION_DAYS", "-1"),
        ("FARTHING_ELEVENLABS_USD_PER_CREDIT", "8e-5"),
        ("FARTHING_ELEVENLABS_USD_PER_CREDIT", "-1"),
        ("FARTHING_ELEVENLABS_USD_PER_CREDIT", ""),
        ("FARTHING_UPSTREAM_OPENAI", "api.openai.com"),
        ("FARTHING_UPSTREAM_OPENAI", "https://api.openai.com/v1"),
        ("FARTHING_UPSTREAM_OPENAI", "ftp://api.openai.com"),
        ("FARTHING_UPSTREAM_OPENAI", "https://user:secret@api.openai.com"),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: str) -> None:
    """The message names the setting and does not show its value where it may be a secret."""
    with pytest.raises(config.BadSetting, match=name) as caught:
        config.load({name: value})
    if "KEY" in name or "@" in value:
        assert value not in str(caught.value)


def test_secrets_do_not_show() -> None:
    """Settings can be printed."""
    settings = config.load({"OPENAI_API_KEY": "sk-canary", "FARTHING_MASTER_KEY": "canary-of-the-master-key-0123"})
    assert "canary" not in repr(settings)


def test_tls_takes_a_certificate_and_its_key(tmp_path: Path) -> None:
    """Both files, in PEM and belonging together, or neither; what is wrong is said with the setting's name."""
    made, other = Certificates(tmp_path), tmp_path / "other"
    other.mkdir()
    stranger = Certificates(other)
    assert config.load({}).tls is None
    assert config.load(made.settings).tls == (made.certificate, made.key)
    for bad, said in (
        ({"FARTHING_TLS_KEY": ""}, "FARTHING_TLS_KEY must be set too"),
        ({"FARTHING_TLS_CERT": ""}, "FARTHING_TLS_CERT must be set too"),
        ({"FARTHING_TLS_CERT": str(tmp_path / "none.pem")}, "FARTHING_TLS_CERT names no file"),
        ({"FARTHING_TLS_KEY": stranger.key}, "must be a PEM certificate and its key"),
        ({"FARTHING_TLS_CERT": made.key}, "must be a PEM certificate and its key"),
    ):
        with pytest.raises(config.BadSetting, match=said):
            config.load(made.settings | bad)


def test_the_client_to_the_providers_is_one_of_two() -> None:
    """Ours, unless aiohttp's is asked for; a name that is none is no reason to guess."""
    assert config.load({}).upstream_client == "lean"
    assert config.load({"FARTHING_UPSTREAM_CLIENT": "aiohttp"}).upstream_client == "aiohttp"
    with pytest.raises(config.BadSetting, match="FARTHING_UPSTREAM_CLIENT must be lean or aiohttp"):
        config.load({"FARTHING_UPSTREAM_CLIENT": "httpx"})


def test_an_encrypted_key_is_refused_without_asking(tmp_path: Path) -> None:
    """A key with a password is an error at the start, not a question on a terminal that nobody sees."""
    made = Certificates(tmp_path)
    key = load_pem_private_key(Path(made.key).read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"correct horse")))
    with pytest.raises(config.BadSetting, match="decrypt it first"):
        config.load(made.settings | {"FARTHING_TLS_KEY": str(locked)})
