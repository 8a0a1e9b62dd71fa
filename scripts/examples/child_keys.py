"""A key for every user, minted by the sign-up webhook, with a cap that holds."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

from farthing import chat, expect, mint, request, step

CAP_MICROS = 2_000

step("1. The sign-up webhook mints a child key")
key = mint(name="eve", external_id="user_42", max_spend_micros=CAP_MICROS, overdraft="never")
expect(key["secret"].startswith("fk_test_"), f"{key['id']}, its secret shown once")
again = request("GET", f"/v1/keys/{key['id']}")
expect("secret" not in again.body, "and never again")

step("2. The user's client calls with it, forty times at once")
with ThreadPoolExecutor(40) as pool:
    answers = list(pool.map(lambda _: chat(key["secret"]), range(40)))
statuses = [answer.status for answer in answers]
expect(set(statuses) == {200, 402}, f"{statuses.count(200)} answered, {statuses.count(402)} refused with 402")
time.sleep(0.5)
me = request("GET", "/v1/me", key=key["secret"])
expect(me["spent_micros"] <= CAP_MICROS, f"spent {me['spent_micros']} of {CAP_MICROS}: never more")
expect(me["overrun_micros"] == me["held_micros"] == 0, "nothing is held any more, nothing ran over")

step("3. A child can mint under itself, and give no more than it has")
team = mint(name="agency", scope="team", max_spend_micros=CAP_MICROS, allowed_models=["gpt-4o-mini"])
refused = request("POST", "/v1/keys", {"livemode": False, "max_spend_micros": CAP_MICROS + 1}, key=team["secret"])
expect(refused["error"]["code"] == "exceeds_parent", f"{refused.status}: {refused['error']['message']}")
child = mint(by=team["secret"], name="client", max_spend_micros=CAP_MICROS)
expect(chat(child["secret"]).status == 200, "the grandchild calls")
expect(chat(child["secret"], model="gpt-4o").status == 403, "but only what the agency may call")

step("4. A leaked key is revoked; the very next call fails, under it too")
revoked = request("DELETE", f"/v1/keys/{team['id']}")
expect(revoked["status"] == "revoked", "revoked the agency")
for name, secret in (("the agency", team["secret"]), ("its client", child["secret"])):
    answer = chat(secret)
    expect(answer["error"]["code"] == "key_revoked", f"{name}: {answer.status} {answer['error']['code']}")
usage = request("GET", f"/v1/usage?from_ms=0&livemode=false&key_id={team['id']}")
expect(usage["cost_micros"] > 0, f"what they used stays on the bill: {usage['cost_micros']} micros")
