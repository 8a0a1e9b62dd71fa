"""The currencies of ISO 4217 that money is counted in: their decimals, and the signs that most people know them by."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_CODES = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY"
    " COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR"
    " ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK"
    " MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF"
    " SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU"
    " UZS VED VES VND VUV WST XAF XCD XCG XOF XPF YER ZAR ZMW ZWG"
)
_NONE = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)
_THREE = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))

DECIMALS: Mapping[str, int] = MappingProxyType(
    {code: 0 if code in _NONE else 3 if code in _THREE else 2 for code in _CODES.split()}
)
"""How many decimals each has, by code."""

SIGNS: Mapping[str, str] = MappingProxyType(
    {"USD": "$", "EUR": "\u20ac", "GBP": "\u00a3", "JPY": "\u00a5", "INR": "\u20b9", "KRW": "\u20a9", "VND": "\u20ab"}
    | {"ILS": "\u20aa", "UAH": "\u20b4", "TRY": "\u20ba", "NGN": "\u20a6", "PHP": "\u20b1", "KZT": "\u20b8"}
    | {"BRL": "R$", "AUD": "A$", "CAD": "C$", "NZD": "NZ$", "HKD": "HK$", "MXN": "MX$", "TWD": "NT$", "CNY": "CN\u00a5"}
)
"""What stands before an amount; of others the code does."""
