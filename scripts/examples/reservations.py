"""Reserve, call the provider yourself, commit: limits for callers who do not go through the gateway."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from farthing import Answer, expect, mint, request, step

step("1. A key with 10,000 tokens a day")
key = mint(name="batch job", limits=[{"unit": "tokens", "max": 10_000, "window": "day"}])


def reserve(tokens: int) -> Answer:
    """Hold tokens for 60 seconds."""
    return request("POST", "/v1/reservations", {"amount": tokens, "unit": "tokens"}, key=key["secret"])


def end(reservation: Answer, word: str, actual: int | None = None) -> Answer:
    """Commit or release it."""
    body = None if actual is None else {"actual": actual}
    return request("POST", f"/v1/reservations/{reservation['id']}/{word}", body, key=key["secret"])


def own_call() -> int:
    """Your own call to a provider; what it says that it used."""
    return 4_000


step("2. Reserve, call, commit")
reservation = reserve(5_000)
expect(reservation["allowed"], f"reserved 5,000 tokens; {reservation['remaining']} remain")
committed = end(reservation, "commit", own_call())
expect(committed["state"] == "committed", f"committed {committed['actual']}: the other 1,000 went back")
expect(end(reservation, "commit", 9_999).body == committed.body, "a second word is answered with the first")

step("3. Reserve, change your mind, release")
reservation = reserve(6_000)
expect(end(reservation, "release")["state"] == "released", "released 6,000: all of it went back")
reservation = reserve(2_000)
end(reservation, "commit", 2_000)

step("4. Two at once on the last 4,000 tokens: one of them is told no")
left = request("GET", "/v1/me", key=key["secret"])["limits"][0]["remaining"]
expect(left == 4_000, f"{left} tokens are left")
with ThreadPoolExecutor(2) as pool:
    both = list(pool.map(reserve, [3_000, 3_000]))
allowed, refused = sorted(both, key=lambda answer: not answer["allowed"])
expect(allowed["allowed"] and not refused["allowed"], f"one is allowed, {allowed['remaining']} remain")
reason = refused["reasons"][0]
expect(refused["id"] is None, f"the other: {reason['code']}, needs {reason['required']}, has {reason['remaining']}")
end(allowed, "commit", 3_000)
check = request("POST", "/v1/check", {"amount": 1_000, "unit": "tokens"}, key=key["secret"])
expect(check["allowed"] and check["remaining"] == 0, "the last 1,000 can still be used")
