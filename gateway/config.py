"""Settings from the environment and a `.env` file, read once at the start. Secrets never appear in `repr`."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from dotenv import dotenv_values

from gateway.bounds import HEAD_TIMEOUT_S, SILENCE_TIMEOUT_S
from gateway.currencies import DECIMALS
from gateway.places import BadPlaces, Place, Places, read
from keys.policy import ORIGIN
from ledger.billing.deciding import GRACE_DAYS
from ledger.records import Unsettled
from providers.ground.vendors import VENDORS, Vendor
from providers.pricing.catalogue import CREDIT_SETTING, PICOS_PER_CREDIT

UpstreamClient = Literal["lean", "aiohttp"]
WORKERS_MAX = 64
RETENTION_DAYS_MIN = 7  # a report that is sent again is known by its event
STRIPE_ORIGIN = "https://api.stripe.com"
GRACE_DAYS_MAX = 365
LOG_LEVELS = ("debug", "info", "warning", "error")
MASTER_KEY_MIN = 24
PORTAL_NAME_MAX = 80
PORTAL_LOGO_BYTES_MAX = 256 * 1024  # it is kept in memory, and sent to every end user
PORTAL_LOGO_TYPES = {".svg": "image/svg+xml", ".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp"}


_USD = re.compile(r"\d{1,3}(?:\.\d{1,12})?")
_RATE = re.compile(r"\d{1,9}(?:\.\d{1,12})?", re.ASCII)
_COLOR = re.compile(r"#[0-9a-f]{6}")


class BadSetting(ValueError):
    """A setting cannot be used; the message names it and never shows a secret."""


class StripeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What we know of the operator's account at Stripe; "" is nothing.

    Attributes:
        webhook_secret: What it signs its events with; several, one for each endpoint there, with commas between them.
        api_key: What we ask it with.
        origin: Where it is.
        grace_days: How long a late payment keeps its plan.
        meter: The name of the meter's events that usage is told by; "" where it is not told.
        every_s: Seconds between two times that changed hours are told.
    """

    webhook_secret: str = ""
    api_key: str = ""
    origin: str = STRIPE_ORIGIN
    grace_days: int = GRACE_DAYS
    meter: str = ""
    every_s: int = 300

    def __repr__(self) -> str:
        return f"StripeSettings({self.origin!r}, webhook_secret={bool(self.webhook_secret)}, key={bool(self.api_key)})"


class Face(msgspec.Struct, frozen=True, kw_only=True):
    """How the pages look to people.

    Attributes:
        currency: What they tell amounts in, beside dollars.
        usd_rate: How many units of it one dollar is.
        public_url: Where browsers find us; "" is where the request did.
        portal_name, portal_color, portal_logo: The operator's own; the colour is #rrggbb.
    """

    currency: str = "USD"
    usd_rate: Decimal = Decimal(1)
    public_url: str = ""
    portal_name: str = ""
    portal_color: str = ""
    portal_logo: Path | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings; see docs/operating.md for their names and meanings."""

    host: str
    port: int
    database_url: str
    master_key: str | None
    log_level: str
    disconnect_drain_s: float
    head_timeout_s: int
    silence_timeout_s: int
    unsettled: Unsettled
    unanswered_s: int
    lease_s: int
    workers: int
    retention_days: int
    mints_per_minute: int
    free_per_minute: int
    free_storage_mb: int
    state_dir: Path
    picos_per_credit: int
    price_files: tuple[Path, ...]
    places: dict[str, Place]
    elsewhere: Places = Places()
    hooks_private: bool = False  # hooks may lead to addresses that are not public, and over plain http
    smtp_url: str = ""
    mail_from: str = ""
    metrics_port: int = 0  # where metrics need no key; 0 = nowhere
    cors_origins: frozenset[str] | None = None  # whose pages may read answers; None = everybody's
    upstream_client: UpstreamClient = "lean"
    tls: tuple[str, str] | None = None  # files of the certificate chain and of its key, in PEM
    face: Face = Face()
    stripe: StripeSettings = StripeSettings()

    def __repr__(self) -> str:
        return f"Settings(host={self.host!r}, port={self.port}, places={self.places!r})"


def load(environment: Mapping[str, str] | None = None, env_file: Path | None = None) -> Settings:
    """Read the settings; the environment wins over the `.env` file.

    Raises:
        BadSetting: A value cannot be used.
    """
    if environment is None:
        environment = os.environ
        env_file = env_file or Path(".env")
    values = dict(environment)
    if env_file is not None and env_file.is_file():
        values = {k: v for k, v in dotenv_values(env_file).items() if v is not None} | values
    master_key = values.get("FARTHING_MASTER_KEY") or None
    if master_key is not None and not (
        len(master_key) >= MASTER_KEY_MIN
        and master_key.isascii()
        and master_key.isprintable()
        and " " not in master_key
    ):
        raise BadSetting(f"FARTHING_MASTER_KEY must be at least {MASTER_KEY_MIN} visible ASCII characters")
    port = _integer(values, "FARTHING_PORT", 8787, 0, 65535)
    metrics_port = _integer(values, "FARTHING_METRICS_PORT", 0, 0, 65535)
    if metrics_port and metrics_port == port:
        raise BadSetting("FARTHING_METRICS_PORT must be another port than FARTHING_PORT")
    level = values.get("FARTHING_LOG_LEVEL", "info").lower()
    if level not in LOG_LEVELS:
        raise BadSetting(f"FARTHING_LOG_LEVEL must be one of {', '.join(LOG_LEVELS)}")
    elsewhere = _elsewhere(values)
    return Settings(
        host=values.get("FARTHING_HOST", "127.0.0.1"),
        port=port,
        database_url=values.get("FARTHING_DATABASE_URL", "sqlite:///farthing.db"),
        master_key=master_key,
        log_level=level,
        head_timeout_s=_integer(values, "FARTHING_HEAD_TIMEOUT_S", int(HEAD_TIMEOUT_S), 1, 3_600),
        silence_timeout_s=_integer(values, "FARTHING_SILENCE_TIMEOUT_S", int(SILENCE_TIMEOUT_S), 1, 3_600),
        unsettled=_unsettled(values),
        unanswered_s=_integer(values, "FARTHING_UNANSWERED_S", 86_400, 0, 31_536_000),
        lease_s=_integer(values, "FARTHING_LEASE_S", 15, 2, 300),
        workers=_integer(values, "FARTHING_WORKERS", 1, 1, WORKERS_MAX),
        retention_days=_retention_days(values),
        free_per_minute=_integer(values, "FARTHING_FREE_PER_MINUTE", 3_000, 0, 10_000_000),
        free_storage_mb=_integer(values, "FARTHING_FREE_STORAGE_MB", 10_000, 0, 1_000_000_000),
        mints_per_minute=_integer(values, "FARTHING_MINTS_PER_MINUTE", 600, 0, 1_000_000),
        state_dir=Path(values.get("FARTHING_STATE_DIR", ".")),
        picos_per_credit=_picos(values, CREDIT_SETTING, PICOS_PER_CREDIT),
        disconnect_drain_s=_integer(values, "FARTHING_DISCONNECT_DRAIN_S", 30, 0, 3_600),
        price_files=tuple(Path(each) for each in values.get("FARTHING_PRICES", "").split(os.pathsep) if each),
        places={vendor.name: _place(values, vendor, elsewhere) for vendor in VENDORS.values()},
        elsewhere=elsewhere,
        hooks_private=_allowed(values, "FARTHING_HOOKS_PRIVATE"),
        smtp_url=values.get("FARTHING_SMTP_URL", ""),
        mail_from=values.get("FARTHING_MAIL_FROM", ""),
        metrics_port=metrics_port,
        cors_origins=_pages(values),
        upstream_client=_client(values),
        tls=_tls(values),
        face=_face(values),
        stripe=_stripe(values),
    )


def _face(values: Mapping[str, str]) -> Face:
    currency, usd_rate = _currency(values)
    return Face(
        currency=currency,
        usd_rate=usd_rate,
        public_url=_origin(values, "FARTHING_PUBLIC_URL", "") if values.get("FARTHING_PUBLIC_URL") else "",
        portal_name=_portal_name(values),
        portal_color=_portal_color(values),
        portal_logo=_portal_logo(values),
    )


def _stripe(values: Mapping[str, str]) -> StripeSettings:
    for name in ("STRIPE_WEBHOOK_SECRET", "STRIPE_API_KEY"):
        if not re.fullmatch(r"[!-~]*", values.get(name, "")):
            raise BadSetting(f"{name} must be visible ASCII characters")
    secrets = values.get("STRIPE_WEBHOOK_SECRET", "")
    if secrets and not all(secrets.split(",")):
        raise BadSetting("STRIPE_WEBHOOK_SECRET must be one secret, or several with a comma between them")
    meter = values.get("FARTHING_STRIPE_METER", "")
    if not re.fullmatch(r"[!-~]{0,100}", meter):
        raise BadSetting(
            "FARTHING_STRIPE_METER must be the event name of a meter: at most 100 visible ASCII characters"
        )
    if meter and not values.get("STRIPE_API_KEY"):
        raise BadSetting("STRIPE_API_KEY must be set too: usage is told with it (FARTHING_STRIPE_METER)")
    if values.get("FARTHING_STRIPE_MODE", "hourly") != "hourly":
        raise BadSetting("FARTHING_STRIPE_MODE must be hourly")
    return StripeSettings(
        webhook_secret=values.get("STRIPE_WEBHOOK_SECRET", ""),
        api_key=values.get("STRIPE_API_KEY", ""),
        origin=_origin(values, "FARTHING_STRIPE_URL", STRIPE_ORIGIN),
        grace_days=_integer(values, "FARTHING_STRIPE_GRACE_DAYS", GRACE_DAYS, 0, GRACE_DAYS_MAX),
        meter=meter,
        every_s=_integer(values, "FARTHING_STRIPE_EVERY_S", 300, 1, 3_600),
    )


def _integer(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = values.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise BadSetting(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def _allowed(values: Mapping[str, str], name: str) -> bool:
    text = values.get(name, "deny")
    if text not in ("allow", "deny"):
        raise BadSetting(f"{name} must be allow or deny")
    return text == "allow"


def _picos(values: Mapping[str, str], name: str, default: int) -> int:
    """A price of at most 1,000 USD, in picos."""
    text = values.get(name)
    if text is None:
        return default
    if not _USD.fullmatch(text):
        raise BadSetting(f"{name} must be dollars with at most 12 decimals, such as 0.00008")
    return int(Decimal(text) * 10**12)


def _tls(values: Mapping[str, str]) -> tuple[str, str] | None:
    names = ("FARTHING_TLS_CERT", "FARTHING_TLS_KEY")
    certificate, key = (values.get(name, "") for name in names)
    if not certificate and not key:
        return None
    if not certificate or not key:
        raise BadSetting(f"{names[bool(certificate)]} must be set too: TLS needs a certificate and its key")
    for name, path in zip(names, (certificate, key), strict=True):
        if not Path(path).is_file():
            raise BadSetting(f"{name} names no file: {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ValueError) as error:
        raise BadSetting(f"{names[0]} and {names[1]} must be a PEM certificate and its key: {error}") from None
    return certificate, key


def _no_password() -> str:
    raise ValueError("the key is encrypted; decrypt it first")


def _currency(values: Mapping[str, str]) -> tuple[str, Decimal]:
    """What pages tell amounts in, and how many units of it one dollar is."""
    code, text = values.get("FARTHING_CURRENCY", "").strip().upper() or "USD", values.get("FARTHING_USD_RATE", "")
    if code not in DECIMALS:
        raise BadSetting("FARTHING_CURRENCY must be a code of ISO 4217, such as EUR")
    if text and (not _RATE.fullmatch(text) or not Decimal(text)):
        raise BadSetting("FARTHING_USD_RATE must be a decimal above zero, such as 0.797, with at most 12 decimals")
    rate = Decimal(text or 1)
    if code == "USD" and rate != 1:
        raise BadSetting("FARTHING_USD_RATE is of another currency than USD: set FARTHING_CURRENCY too")
    if code != "USD" and not text:
        raise BadSetting(f"FARTHING_USD_RATE must be set too: how many {code} one USD is")
    return code, rate


def _portal_name(values: Mapping[str, str]) -> str:
    name = values.get("FARTHING_PORTAL_NAME", "").strip()
    if len(name) > PORTAL_NAME_MAX or not (name or "-").isprintable():
        raise BadSetting(f"FARTHING_PORTAL_NAME must be one line of at most {PORTAL_NAME_MAX} characters")
    return name


def _portal_color(values: Mapping[str, str]) -> str:
    color = values.get("FARTHING_PORTAL_COLOR", "").strip().lower()
    if color and not _COLOR.fullmatch(color):
        raise BadSetting("FARTHING_PORTAL_COLOR must be a colour such as #1f6feb")
    return color


def _portal_logo(values: Mapping[str, str]) -> Path | None:
    name = values.get("FARTHING_PORTAL_LOGO", "").strip()
    if not name:
        return None
    path = Path(name)
    if path.suffix.lower() not in PORTAL_LOGO_TYPES:
        kinds = ", ".join(PORTAL_LOGO_TYPES)
        raise BadSetting(f"FARTHING_PORTAL_LOGO must name a file that ends in one of {kinds}")
    if not path.is_file() or not os.access(path, os.R_OK):
        raise BadSetting(f"FARTHING_PORTAL_LOGO names no file that can be read: {name}")
    if not 0 < path.stat().st_size <= PORTAL_LOGO_BYTES_MAX:
        raise BadSetting(f"FARTHING_PORTAL_LOGO must be a file of at most {PORTAL_LOGO_BYTES_MAX // 1024} kB")
    return path


def _pages(values: Mapping[str, str]) -> frozenset[str] | None:
    text = values.get("FARTHING_CORS_ORIGINS", "*").strip()
    if text == "*":
        return None
    origins = frozenset(each.strip() for each in text.split(",") if each.strip())
    for each in origins:
        if not re.match(ORIGIN, each):
            raise BadSetting(
                "FARTHING_CORS_ORIGINS must be * or origins such as https://app.example.com, separated by commas"
            )
    return origins


def _retention_days(values: Mapping[str, str]) -> int:
    days = _integer(values, "FARTHING_EVENTS_RETENTION_DAYS", 0, 0, 36_500)
    if 0 < days < RETENTION_DAYS_MIN:
        raise BadSetting(f"FARTHING_EVENTS_RETENTION_DAYS must be 0 (for ever) or at least {RETENTION_DAYS_MIN}")
    return days


def _elsewhere(values: Mapping[str, str]) -> Places:
    path = values.get("FARTHING_UPSTREAMS", "")
    try:
        return read(Path(path), values) if path else Places()
    except BadPlaces as error:
        raise BadSetting(f"FARTHING_UPSTREAMS: {error}") from None


def _place(values: Mapping[str, str], vendor: Vendor, elsewhere: Places) -> Place:
    """A provider's own; where there is a pool of credentials, with the first of them."""
    pool = elsewhere.pools.get(vendor.name)
    credential = pool[0].credential if pool else values.get(vendor.key_env, "")
    return Place(_origin(values, f"FARTHING_UPSTREAM_{vendor.setting}", vendor.origin), credential)


def _client(values: Mapping[str, str]) -> UpstreamClient:
    clients: dict[str, UpstreamClient] = {"lean": "lean", "aiohttp": "aiohttp"}
    text = values.get("FARTHING_UPSTREAM_CLIENT", "lean")
    if text not in clients:
        raise BadSetting("FARTHING_UPSTREAM_CLIENT must be lean or aiohttp")
    return clients[text]


def _unsettled(values: Mapping[str, str]) -> Unsettled:
    policies: dict[str, Unsettled] = {"keep": "keep", "charge": "charge", "release": "release"}
    text = values.get("FARTHING_UNSETTLED", "keep")
    if text not in policies:
        raise BadSetting("FARTHING_UNSETTLED must be keep, charge or release")
    return policies[text]


def _origin(values: Mapping[str, str], name: str, default: str) -> str:
    text = values.get(name, default)
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise BadSetting(f"{name} must be an origin such as https://api.example.com")
    if parts.path not in ("", "/"):
        raise BadSetting(f"{name} must be an origin without a path, such as https://api.example.com")
    return text.rstrip("/")
