// Runs a client that the gateway serves, as somebody would: CLIENT is its file, BASE_URL and API_KEY the gateway's.
import { pathToFileURL } from "node:url";

const made = await import(pathToFileURL(process.env.CLIENT).href);
const client = (options = {}) =>
  new made.Farthing({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, ...options });
const told = async (run) => {
  try {
    return await run();
  } catch (error) {
    return { kind: error.constructor.name, status: error.status, code: error.code, param: error.param, requestId: error.requestId };
  }
};

const cases = {
  /** Every method, called with nothing that means anything: which requests they are. */
  async methods() {
    const asked = [];
    const fetch = async (url, init) => {
      asked.push([init.method, url.pathname, init.headers["idempotency-key"] !== undefined]);
      return new Response('{"object": "list", "data": [], "has_more": false}', { headers: { "content-type": "application/json" } });
    };
    const one = client({ fetch });
    const inherited = new Set(["constructor", "ask", "forCustomer", "_send"]);
    for (const holder of [one, ...Object.values(one).filter((each) => each?._client === one)]) {
      for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(holder))) {
        if (inherited.has(name)) continue;
        const takesId = /^\w+\(id\b/.test(holder[name].toString().trim());
        await (takesId ? holder[name]("an/id", {}, {}, {}) : holder[name]({}, {}, {}));
      }
    }
    return asked;
  },
  async life() {
    const one = client();
    const key = await one.keys.mint({ name: "js", max_spend_usd: "1", livemode: false });
    await one.plans.create({ name: "a" });
    await one.plans.create({ name: "b" });
    await one.plans.create({ name: "c" });
    const names = [];
    for await (const plan of one.plans.list({ limit: 1 })) names.push(plan.name);
    const page = await one.plans.list({ limit: 2 });
    const user = await one.endUsers.put("a/b ?", { max_spend_usd: "0.5" }, { key_id: key.id });
    const usage = await one.usage.retrieve({ from_ms: 0, livemode: false });
    const csv = await one.usage.retrieve({ from_ms: 0, format: "csv" });
    const me = await one.me();
    return {
      names, page: [page.data.length, page.has_more], user: [user.id, user.max_spend_micros], usage: usage.object,
      csv: csv.split(",")[0], me: me.scope, revoked: (await one.keys.revoke(key.id)).status,
      customer: one.forCustomer("ann", { apiKey: key.secret, path: "" }),
      missing: await told(() => one.keys.retrieve("key_none")),
      invalid: await told(() => one.keys.mint({ name: 7 })),
      unknown: await told(() => one.keys.mint({ nam: "x" })),
      wrong: await told(() => client({ apiKey: "fk_live_wrong" }).me()),
      used: await told(async () => {
        await one.plans.create({ name: "d" }, { idempotencyKey: "js" });
        return one.plans.create({ name: "e" }, { idempotencyKey: "js" });
      }),
    };
  },
  async flaky() {
    const started = Date.now();
    const key = await client({ maxRetries: 3 }).keys.mint({ name: "once", livemode: false });
    return { id: key.id, tookMs: Date.now() - started };
  },
  async silent() {
    const started = Date.now();
    const failed = await told(() => client({ timeoutMs: 200, maxRetries: 0 }).me());
    return { ...failed, tookMs: Date.now() - started };
  },
};
console.log(JSON.stringify(await cases[process.argv[2]]()));
