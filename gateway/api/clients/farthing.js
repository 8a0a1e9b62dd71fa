/**
 * A client of Farthing's management API in one file: copy it, or fetch it from your gateway's /clients/farthing.js.
 *
 *     const client = new Farthing({ baseURL: "https://ai.example.com", apiKey: "fk_live_…" });
 *     const key = await client.keys.mint({ name: "customer 17", max_spend_usd: "5", reset: "month" });
 *     for await (const key of client.keys.list()) console.log(key.id, key.spent_micros); // all pages
 *     const sdk = new SomeProvidersSdk(client.forCustomer("ann", { apiKey: key.secret }));
 *
 * No dependencies; browsers, Node 20 and later, Deno, Bun, workers. Answers are the API's own JSON: see /docs on your
 * gateway. What changes something carries an Idempotency-Key, so it is done once, however often it has to be sent.
 */

const RETRIED = new Set([408, 429, 500, 502, 503, 504]);
const BACK_OFF_MS = 500, BACK_OFF_MS_MAX = 8_000, RETRY_AFTER_MS_MAX = 60_000;

/** @typedef {Record<string, any>} Fields What a request says, by the API's own names. */
/** @typedef {{ idempotencyKey?: string, signal?: AbortSignal }} Options Of one request. */

/** The gateway refused. `code` says why: see /docs, or the subclasses here. */
export class FarthingError extends Error {
  /**
   * @param {number} status Of HTTP; 0 where there was no answer.
   * @param {{ code: string, message?: string, param?: string | null, request_id?: string, farthing?: Fields }} told
   * @param {ErrorOptions} [options]
   */
  constructor(status, told, options) {
    super(told.message ? `${told.code}: ${told.message}` : told.code, options);
    this.name = new.target.name;
    this.status = status;
    /** @type {string} */
    this.code = told.code;
    /** @type {string | null} */
    this.param = told.param ?? null;
    /** To find it in the gateway's log. */
    this.requestId = told.request_id ?? "";
    /** Of a cap or limit: which one, what it has left. @type {Fields} */
    this.farthing = told.farthing ?? {};
    /** How long to wait at least before it is worth asking again; null where it is not. @type {number | null} */
    this.waitMs = null;
  }
}
/** Something in the request cannot be; `param` names it. */
export class InvalidRequestError extends FarthingError {}
/** The key opens nothing. */
export class AuthenticationError extends FarthingError {}
/** The key may not do this. */
export class PermissionDeniedError extends FarthingError {}
/** A spend cap has no room; `farthing` says which one and what it has left. */
export class SpendCapError extends FarthingError {}
/** There is nothing with this id, or it is another's. */
export class NotFoundError extends FarthingError {}
/** The Idempotency-Key was used with another request. */
export class IdempotencyError extends FarthingError {}
/** A limit of anything but money has no room. */
export class RateLimitError extends FarthingError {}
/** The gateway cannot answer now; nothing was done that is not done once when it is asked again. */
export class UnavailableError extends FarthingError {}
/** The gateway cannot be reached, or did not answer in time. */
export class ConnectionFailedError extends FarthingError {}

/** @type {Record<string, typeof FarthingError>} */
const BY_CODE = { idempotency_mismatch: IdempotencyError, spend_cap_exceeded: SpendCapError, limit_required: SpendCapError };
/** @type {Record<number, typeof FarthingError>} */
const BY_STATUS = {
  401: AuthenticationError, 402: SpendCapError, 403: PermissionDeniedError, 404: NotFoundError, 408: UnavailableError,
  429: RateLimitError,
};

/** A page of a list, and all pages after it: `await` it for the first one, or `for await` over everything. */
export class Pages {
  /** @param {Farthing} client @param {string} path @param {Fields} query */
  constructor(client, path, query) {
    this._client = client;
    this._path = path;
    this._query = query;
  }

  /** The first page. @returns {Promise<{ object: "list", data: Fields[], has_more: boolean }>} */
  first() {
    return this._client.ask("GET", this._path, this._query);
  }

  /** @template A, B @param {(page: { object: "list", data: Fields[], has_more: boolean }) => A} done @param {(error: unknown) => B} [failed] */
  then(done, failed) {
    return this.first().then(done, failed);
  }

  async *[Symbol.asyncIterator]() {
    let query = this._query;
    for (;;) {
      /** @type {{ data: Fields[], has_more: boolean }} */
      const page = await this._client.ask("GET", this._path, query);
      yield* page.data;
      const last = page.data.at(-1);
      if (!page.has_more || last === undefined) return;
      query = { ...query, starting_after: last.id };
    }
  }
}

/** One gateway, asked with one key. */
export class Farthing {
  /**
   * A request is sent `maxRetries` times again where the gateway could not be reached, was too busy, or said to wait.
   * @param {{ baseURL: string, apiKey: string, maxRetries?: number, timeoutMs?: number, fetch?: typeof globalThis.fetch }} options
   */
  constructor({ baseURL, apiKey, maxRetries = 2, timeoutMs = 30_000, fetch = globalThis.fetch }) {
    if (!apiKey) throw new TypeError("apiKey must not be empty");
    if (!/^https?:\/\//.test(baseURL)) throw new TypeError("baseURL must begin with https:// or http://");
    this.baseURL = baseURL.replace(/\/+$/, "");
    this.apiKey = apiKey;
    this.maxRetries = maxRetries;
    this.timeoutMs = timeoutMs;
    this._fetch = fetch;
    // <resources>
    this.keys = new Keys(this);
    this.usage = new Usage(this);
    this.events = new Events(this);
    this.holds = new Holds(this);
    this.plans = new Plans(this);
    this.endUsers = new EndUsers(this);
    this.changes = new Changes(this);
    this.hooks = new Hooks(this);
    this.deliveries = new Deliveries(this);
    this.portalSessions = new PortalSessions(this);
    this.reservations = new Reservations(this);
    this.prices = new Prices(this);
    this.pipelines = new Pipelines(this);
    this.routes = new Routes(this);
    this.upstreams = new Upstreams(this);
    this.stripe = new Stripe(this);
    // </resources>
  }

  // <methods>
  /**
   * The caller's own key. No cap ever blocks it.
   * @returns {Promise<any>}
   */
  me() {
    return this.ask("GET", "/v1/me", {}, undefined);
  }

  /**
   * Would this reservation be allowed? Nothing is held or recorded.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  check(fields, options = {}) {
    return this.ask("POST", "/v1/check", {}, fields, options);
  }

  /**
   * What would this usage cost?
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  estimate(fields, options = {}) {
    return this.ask("POST", "/v1/estimate", {}, fields, options);
  }

  // </methods>

  /**
   * What a provider's SDK takes, so that its calls count as this end user's.
   * @param {string} endUser
   * @param {{ apiKey?: string, path?: string }} [options] `apiKey` may call models (a master key may not); this
   *   client's own, if it is not said. `path` is what the SDK wants behind the gateway's address: "/v1", or "".
   */
  forCustomer(endUser, { apiKey = this.apiKey, path = "/v1" } = {}) {
    return { baseURL: this.baseURL + path, apiKey, defaultHeaders: { "x-end-user-id": endUser } };
  }

  /**
   * One request: its JSON, or its text where it is no JSON. Throws FarthingError.
   * @param {string} method @param {string} path @param {Fields} [query] @param {unknown} [body] @param {Options} [options]
   * @returns {Promise<any>}
   */
  async ask(method, path, query = {}, body = undefined, options = {}) {
    const url = new URL(this.baseURL + path);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null) url.searchParams.set(name, String(value));
    }
    /** @type {Record<string, string>} */
    const headers = { authorization: `Bearer ${this.apiKey}` };
    if (method !== "GET") headers["idempotency-key"] = options.idempotencyKey ?? crypto.randomUUID();
    if (body !== undefined) headers["content-type"] = "application/json";
    const sent = body === undefined ? undefined : JSON.stringify(body);
    for (let attempt = 0; ; attempt++) {
      try {
        return await this._send(url, { method, headers, body: sent }, options.signal);
      } catch (error) {
        if (!(error instanceof FarthingError) || error.waitMs === null || attempt >= this.maxRetries) throw error;
        const backOffMs = Math.min(BACK_OFF_MS * 2 ** attempt, BACK_OFF_MS_MAX) * (0.5 + Math.random() / 2);
        await new Promise((done) => setTimeout(done, Math.max(/** @type {number} */ (error.waitMs), backOffMs)));
      }
    }
  }

  /** @param {URL} url @param {RequestInit} init @param {AbortSignal} [signal] */
  async _send(url, init, signal) {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error(`no answer within ${this.timeoutMs} ms`)), this.timeoutMs);
    const leave = () => late.abort(signal?.reason);
    signal?.addEventListener("abort", leave, { once: true });
    let answer, text;
    try {
      signal?.throwIfAborted();
      answer = await this._fetch(url, { ...init, redirect: "manual", signal: late.signal });
      text = await answer.text();
    } catch (error) {
      if (signal?.aborted) throw error;
      const failed = new ConnectionFailedError(0, { code: "connection_failed", message: String(error) }, { cause: error });
      failed.waitMs = 0;
      throw failed;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", leave);
    }
    if (!answer.ok) throw refusal(answer, text);
    return (answer.headers.get("content-type") ?? "").startsWith("application/json") ? JSON.parse(text) : text;
  }
}

/** @param {Response} answer @param {string} text */
function refusal(answer, text) {
  /** @type {any} */
  let told = {};
  try {
    told = JSON.parse(text).error ?? {};
  } catch { /* not ours */ }
  const { status, headers } = answer;
  const code = String(told.code ?? `http_${status}`);
  const Kind = BY_CODE[code] ?? BY_STATUS[status] ?? (status >= 500 ? UnavailableError : InvalidRequestError);
  const requestId = told.request_id ?? headers.get("x-farthing-request-id") ?? "";
  const error = new Kind(status, { ...told, code, request_id: requestId });
  if (RETRIED.has(status) && headers.get("x-should-retry") !== "false") {
    const after = headers.get("retry-after") ?? "";
    error.waitMs = /^\d+$/.test(after) ? Math.min(Number(after) * 1000, RETRY_AFTER_MS_MAX) : 0;
  }
  return error;
}

/** What several methods have in common. */
class Resource {
  /** @param {Farthing} client */
  constructor(client) {
    this._client = client;
  }
}

// <operations>
/** `/v1/keys`. */
export class Keys extends Resource {
  /**
   * Mint a key under the caller's own. The answer has its secret, once.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  mint(fields, options = {}) {
    return this._client.ask("POST", "/v1/keys", {}, fields, options);
  }

  /**
   * The keys under the caller, newest first.
   * @param {{ limit?: number, starting_after?: string, livemode?: boolean }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/keys", query);
  }

  /**
   * One key, with what it has left.
   * @param {string} id
   * @returns {Promise<any>}
   */
  retrieve(id) {
    return this._client.ask("GET", `/v1/keys/${encodeURIComponent(id)}`, {}, undefined);
  }

  /**
   * Change a key; in force on its next call.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  update(id, fields, options = {}) {
    return this._client.ask("PATCH", `/v1/keys/${encodeURIComponent(id)}`, {}, fields, options);
  }

  /**
   * Revoke a key and all under it, for ever. Its history stays.
   * @param {string} id
   * @param {{ in_flight?: string }} [query]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  delete(id, query = {}, options = {}) {
    return this._client.ask("DELETE", `/v1/keys/${encodeURIComponent(id)}`, query, undefined, options);
  }

  /**
   * The same as deleting it.
   * @param {string} id
   * @param {{ in_flight?: string }} [query]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  revoke(id, query = {}, options = {}) {
    return this._client.ask("POST", `/v1/keys/${encodeURIComponent(id)}/revoke`, query, undefined, options);
  }

  /**
   * Give a key a new secret. Its id stays, the old secret lives on as long as is said.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  rotate(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/keys/${encodeURIComponent(id)}/rotate`, {}, fields, options);
  }

  /**
   * A key's progress in its cap's window (or another time), by model, and its newest events.
   * @param {string} id
   * @param {{ limit?: number, starting_after?: string, end_user?: string, run_id?: string, from_ms?: number, to_ms?: number, mode?: string, decision?: string, livemode?: boolean }} [query]
   * @returns {Promise<any>}
   */
  usage(id, query = {}) {
    return this._client.ask("GET", `/v1/keys/${encodeURIComponent(id)}/usage`, query, undefined);
  }

  /**
   * Raise a key's cap, on the record; for a time, if `expires_at_ms` is said.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  credit(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/keys/${encodeURIComponent(id)}/credits`, {}, fields, options);
  }
}

/** `/v1/usage`. */
export class Usage extends Resource {
  /**
   * The bill: sums by key and model, and by day, end user or tag where asked.
   * @param {{ from_ms: number, to_ms?: number, key_id?: string, end_user?: string, group_by?: string, timezone?: string, format?: string, livemode?: boolean }} query
   * @returns {Promise<any>}
   */
  retrieve(query) {
    return this._client.ask("GET", "/v1/usage", query, undefined);
  }
}

/** `/v1/events`. */
export class Events extends Resource {
  /**
   * Every allowed and every blocked call, newest first; a cursor misses none.
   * @param {{ limit?: number, starting_after?: string, end_user?: string, run_id?: string, from_ms?: number, to_ms?: number, mode?: string, decision?: string, livemode?: boolean, key_id?: string, format?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/events", query);
  }

  /**
   * Report calls of your own, one or up to 1,000. A bad one does not stop the others: it is `rejected`.
   * @param {Fields | Fields[]} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  report(fields, options = {}) {
    return this._client.ask("POST", "/v1/events", {}, fields, options);
  }
}

/** `/v1/holds`. */
export class Holds extends Resource {
  /**
   * Calls in flight, reservations, and calls whose end nobody saw.
   * @param {{ limit?: number, starting_after?: string, state?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/holds", query);
  }

  /**
   * An operator's word on a call whose end nobody saw. The first word stands.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  resolve(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/holds/${encodeURIComponent(id)}/resolve`, {}, fields, options);
  }
}

/** `/v1/plans`. */
export class Plans extends Resource {
  /**
   * Make a plan: terms that many keys share.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  create(fields, options = {}) {
    return this._client.ask("POST", "/v1/plans", {}, fields, options);
  }

  /**
   * The plans under the caller, newest first.
   * @param {{ limit?: number, starting_after?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/plans", query);
  }

  /**
   * One plan.
   * @param {string} id
   * @returns {Promise<any>}
   */
  retrieve(id) {
    return this._client.ask("GET", `/v1/plans/${encodeURIComponent(id)}`, {}, undefined);
  }

  /**
   * Change a plan; in force on the next call of every key on it.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  update(id, fields, options = {}) {
    return this._client.ask("PATCH", `/v1/plans/${encodeURIComponent(id)}`, {}, fields, options);
  }

  /**
   * Remove a plan that no key is on.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  delete(id, options = {}) {
    return this._client.ask("DELETE", `/v1/plans/${encodeURIComponent(id)}`, {}, undefined, options);
  }
}

/** `/v1/end_users`. */
export class EndUsers extends Resource {
  /**
   * One of a key's users.
   * @param {string} id
   * @param {{ key_id?: string }} [query]
   * @returns {Promise<any>}
   */
  retrieve(id, query = {}) {
    return this._client.ask("GET", `/v1/end_users/${encodeURIComponent(id)}`, query, undefined);
  }

  /**
   * Say something of a user, seen before or not.
   * @param {string} id
   * @param {Fields} fields
   * @param {{ key_id?: string }} [query]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  put(id, fields, query = {}, options = {}) {
    return this._client.ask("PUT", `/v1/end_users/${encodeURIComponent(id)}`, query, fields, options);
  }

  /**
   * Forget who a user is. The sums stay.
   * @param {string} id
   * @param {{ key_id?: string }} [query]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  delete(id, query = {}, options = {}) {
    return this._client.ask("DELETE", `/v1/end_users/${encodeURIComponent(id)}`, query, undefined, options);
  }
}

/** `/v1/changes`. */
export class Changes extends Resource {
  /**
   * Who changed what, newest first.
   * @param {{ limit?: number, starting_after?: string, object_id?: string, type?: string, from_ms?: number, to_ms?: number }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/changes", query);
  }
}

/** `/v1/hooks`. */
export class Hooks extends Resource {
  /**
   * Have somebody told. A webhook's secret is in the answer, once.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  create(fields, options = {}) {
    return this._client.ask("POST", "/v1/hooks", {}, fields, options);
  }

  /**
   * The hooks of the caller's subtree.
   * @param {{ limit?: number, starting_after?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/hooks", query);
  }

  /**
   * One hook.
   * @param {string} id
   * @returns {Promise<any>}
   */
  retrieve(id) {
    return this._client.ask("GET", `/v1/hooks/${encodeURIComponent(id)}`, {}, undefined);
  }

  /**
   * Change a hook, or set it to work again.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  update(id, fields, options = {}) {
    return this._client.ask("PATCH", `/v1/hooks/${encodeURIComponent(id)}`, {}, fields, options);
  }

  /**
   * Remove a hook, with all that was to go to it.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  delete(id, options = {}) {
    return this._client.ask("DELETE", `/v1/hooks/${encodeURIComponent(id)}`, {}, undefined, options);
  }

  /**
   * A webhook's new secret, once; both sign while they overlap.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  rotate(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/hooks/${encodeURIComponent(id)}/rotate`, {}, fields, options);
  }

  /**
   * Send a hook a message, whatever it listens to.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  test(id, options = {}) {
    return this._client.ask("POST", `/v1/hooks/${encodeURIComponent(id)}/test`, {}, undefined, options);
  }

  /**
   * What went, or is to go, to a hook; newest first.
   * @param {string} id
   * @param {{ limit?: number, starting_after?: string, state?: string }} [query]
   * @returns {Pages}
   */
  deliveries(id, query = {}) {
    return new Pages(this._client, `/v1/hooks/${encodeURIComponent(id)}/deliveries`, query);
  }

  /**
   * Send again what was written for a hook in a span of time.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  replay(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/hooks/${encodeURIComponent(id)}/replay`, {}, fields, options);
  }
}

/** `/v1/deliveries`. */
export class Deliveries extends Resource {
  /**
   * One delivery.
   * @param {string} id
   * @returns {Promise<any>}
   */
  retrieve(id) {
    return this._client.ask("GET", `/v1/deliveries/${encodeURIComponent(id)}`, {}, undefined);
  }

  /**
   * Send it again now, under the same id and in the same bytes.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  retry(id, options = {}) {
    return this._client.ask("POST", `/v1/deliveries/${encodeURIComponent(id)}/retry`, {}, undefined, options);
  }
}

/** `/v1/portal_sessions`. */
export class PortalSessions extends Resource {
  /**
   * An address, opened once, of a page for an end user: what is left, what was spent, at his own prices.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  create(fields, options = {}) {
    return this._client.ask("POST", "/v1/portal_sessions", {}, fields, options);
  }
}

/** `/v1/reservations`. */
export class Reservations extends Resource {
  /**
   * Hold back an amount before calling a provider yourself. Not allowed is 200 with `reasons`.
   * @param {Fields} fields
   * @param {{ strict?: boolean }} [query]
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  create(fields, query = {}, options = {}) {
    return this._client.ask("POST", "/v1/reservations", query, fields, options);
  }

  /**
   * Charge what was used; the rest goes back. A second word is answered with the first.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  commit(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/reservations/${encodeURIComponent(id)}/commit`, {}, fields, options);
  }

  /**
   * Give all of it back.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  release(id, options = {}) {
    return this._client.ask("POST", `/v1/reservations/${encodeURIComponent(id)}/release`, {}, undefined, options);
  }

  /**
   * Let it live on, counted from now.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  extend(id, fields, options = {}) {
    return this._client.ask("POST", `/v1/reservations/${encodeURIComponent(id)}/extend`, {}, fields, options);
  }
}

/** `/v1/prices`. */
export class Prices extends Resource {
  /**
   * What every model costs, by provider and model. `version` names the catalogue.
   * @param {{ provider?: string, q?: string, limit?: number, starting_after?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/prices", query);
  }
}

/** `/v1/pipelines`. */
export class Pipelines extends Resource {
  /**
   * What is wrong with a pipeline, by JSON pointer, and what it may cost at most. Nothing is run.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  check(fields, options = {}) {
    return this._client.ask("POST", "/v1/pipelines/check", {}, fields, options);
  }

  /**
   * Run a pipeline, or go on with one that waited for tools. Answers with its last event, or with all of them while it runs, one a line, where `Accept` says so.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  run(fields, options = {}) {
    return this._client.ask("POST", "/v1/pipelines/runs", {}, fields, options);
  }

  /**
   * End a run, or one that waits for tools. Its calls in flight land, and are billed.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  cancel(id, options = {}) {
    return this._client.ask("DELETE", `/v1/pipelines/runs/${encodeURIComponent(id)}`, {}, undefined, options);
  }
}

/** `/v1/routes`. */
export class Routes extends Resource {
  /**
   * Let a name stand for several targets. A call whose `model` is the name goes to one of them.
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  create(fields, options = {}) {
    return this._client.ask("POST", "/v1/routes", {}, fields, options);
  }

  /**
   * The routes of the installation, newest first.
   * @param {{ limit?: number, starting_after?: string }} [query]
   * @returns {Pages}
   */
  list(query = {}) {
    return new Pages(this._client, "/v1/routes", query);
  }

  /**
   * One route.
   * @param {string} id
   * @returns {Promise<any>}
   */
  retrieve(id) {
    return this._client.ask("GET", `/v1/routes/${encodeURIComponent(id)}`, {}, undefined);
  }

  /**
   * Change a route; in force on the next call.
   * @param {string} id
   * @param {Fields} fields
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  update(id, fields, options = {}) {
    return this._client.ask("PATCH", `/v1/routes/${encodeURIComponent(id)}`, {}, fields, options);
  }

  /**
   * Remove a route.
   * @param {string} id
   * @param {Options} [options]
   * @returns {Promise<any>}
   */
  delete(id, options = {}) {
    return this._client.ask("DELETE", `/v1/routes/${encodeURIComponent(id)}`, {}, undefined, options);
  }
}

/** `/v1/upstreams`. */
export class Upstreams extends Resource {
  /**
   * How the providers are doing, as calls of this process have met them.
   * @returns {Pages}
   */
  list() {
    return new Pages(this._client, "/v1/upstreams", {});
  }
}

/** `/v1/stripe`. */
export class Stripe extends Resource {
  /**
   * How it stands with what Stripe is told of usage, and with the prices that it tells of.
   * @returns {Promise<any>}
   */
  retrieve() {
    return this._client.ask("GET", "/v1/stripe", {}, undefined);
  }
}

// </operations>
