/**
 * The browser SDK of halo-sync, for pages and for Node 18 and later. No dependency, no cookie, no storage: what it
 * knows is in memory. Nothing that it is given makes it throw into the page that it is a guest of.
 *
 * A call changes a *batch* (one for each user, one for each company) and returns. Batches are turned into requests a
 * moment later, and requests go out one after the other, so that a user is there before its company is linked.
 * Names that begin with `_` are shortened by the build.
 */

/** The version that `debug()` shows; the paths' `v1` is its first number. */
const VERSION = "1.0.0";
/** At most one flush within so many milliseconds; the first goes out when the script that called has ended. */
const WINDOW = 250;
/** A request that still fails after so many tries is given up. The waits double from the first, up to the longest. */
const TRIES = 10;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 60000;
/** A server that asks for more patience than this is asked again after it, all the same. */
const LONGEST_RETRY_AFTER = 3600000;
/** Milliseconds that an answer, and the page's own `getUserToken`, may take. */
const PATIENCE = 30000;
/** What requests that outlive their page may weigh together (Fetch standard: 64 KiB), less room for what we do not count. */
const KEEPALIVE_BYTES = 64000;
/** What the server takes of a user's and of a company's traits and context, bytes of JSON. */
const USER_BYTES = 20000;
const COMPANY_BYTES = 50000;
/** Characters of an id or key; the server takes fewer. */
const LONGEST_ID = 1000;
/** Batches that wait at once; only a page that changes users in a loop reaches it. */
const BATCHES = 100;

const SHARED_RESERVED = ["id", "external_id", "org_id", "created_at", "updated_at", "last_contacted_at"];
const USER_RESERVED = [...SHARED_RESERVED, "company_id", "first_seen", "last_seen"];
const COMPANY_RESERVED = [...SHARED_RESERVED, "health_score", "team_size"];

/** An object whose every key is its own: `__proto__` is a key like others. */
const bare = () => Object.create(null);
const size = (text) => new TextEncoder().encode(text).length;
const json = (value) =>
  // A number that not every reader of JSON keeps becomes a text, and half a pair of surrogates (an emoji that was cut)
  // U+FFFD: a strict reader refuses all of a text that holds one.
  JSON.stringify(value, (_, part) =>
    typeof part == "bigint" ? String(part) : typeof part == "string" ? (part.toWellFormed?.() ?? part) : part,
  );

function print(how, ...words) {
  try {
    console[how]("[halo-sync]", ...words);
  } catch {
    // A page without a console, or with a broken one.
  }
}
const warn = (...words) => print("warn", ...words);

/** An id as text; a number is what many databases call an id. */
function idOf(id, name) {
  if (Number.isFinite(id) || typeof id == "bigint") id = String(id);
  if (typeof id == "string" && id && id.length <= LONGEST_ID) return id;
  warn(name + " is no id: ignored");
}

/** What the promise, which does not fail, resolves to; nothing where that takes too long. */
const within = (ms, promise) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    promise.then((value) => {
      clearTimeout(timer);
      done(value);
    });
  });

/** The SDK, for the address that its own file came from (`""` when that tells nothing). */
export function create(origin) {
  /**
   * All that `destroy()` forgets. A continuation that finds another one in its place ends. Not there at first:
   * `_options` (what `init` was given), `_key`, `_url`, `_user`, `_company`, `_session`, `_scheduled` (a timer),
   * `_wake` (ends a wait early), `_last` (error).
   */
  let state;

  const fresh = () => ({
    /** By user, so that what was said for one never goes out with another one's. */
    _tokens: bare(),
    /** Users whose token was refused: nothing of them goes out until there is another. */
    _expired: bare(),
    /** Entries from before there was a user: they go to the first that is identified. */
    _early: bare(),
    /** Batches by name, in the order in which they go out. */
    _batches: new Map(),
    /** Requests made from batches, oldest first. */
    _outbox: [],
    /** When the last flush began. */
    _flushed: 0,
    /** The server asked to be left alone until then. */
    _until: 0,
    /** Bytes under way in requests that may outlive the page. */
    _flying: 0,
    /** Who waits in `flush()`. */
    _waiting: [],
    _sent: 0,
    _failed: 0,
  });

  state = fresh();

  const isDev = () => {
    const said = state._options?.debug;
    return said === undefined ? typeof location == "object" && /^(localhost|127\.|\[::1)/.test(location.hostname) : said;
  };
  const hint = (text) => isDev() && warn(text);

  /** Calls what the page gave us; what goes wrong there is none of its visitors' business. */
  async function call(name, value) {
    try {
      return await state._options[name]?.(value);
    } catch (e) {
      warn(name, e);
    }
  }

  function failed(message, more) {
    state._failed++;
    state._last = message;
    hint(message);
    call("onError", Object.assign(new Error(message), more));
  }

  /** A copy as JSON has it, each member by itself: one that cannot be written loses only itself. */
  function copy(from, what) {
    const to = bare();
    if (from != null && (typeof from != "object" || Array.isArray(from))) warn(what + " must be an object: ignored");
    else {
      for (const key of Object.keys(from || to)) {
        try {
          const text = json(from[key]);
          if (text > "") {
            if (text.length > COMPANY_BYTES) throw "too large";
            to[key] = JSON.parse(text);
          }
        } catch (e) {
          warn(`${what}.${key} left out:`, e);
        }
      }
    }
    return to;
  }

  function check(traits, reserved, what) {
    const found = Object.keys(traits).filter((key) => reserved.includes(key));
    if (found.length) hint(`${what}: reserved, will be refused: ${found}`);
  }

  // --- batches

  function batch(name, make, last) {
    const batches = state._batches;
    let found = batches.get(name);
    if (found && last) batches.delete(name);
    if (!found || last) batches.set(name, (found = found || make()));
    if (batches.size > BATCHES) {
      const [oldest] = batches.keys();
      batches.delete(oldest);
      warn("too much waits: oldest dropped");
    }
    schedule();
    return found;
  }

  const ofUser = (id) =>
    batch(json([id]), () => ({
      _user: id,
      _session: session(),
      _seen: false,
      _traits: bare(),
      /** Clear all, then clear these, then set those. */
      _all: false,
      _gone: [],
      _set: bare(),
    }));

  function putContext(of, key, entry) {
    of._gone = of._gone.filter((gone) => gone !== key);
    of._set[key] = entry;
  }

  // --- the public calls

  function identify(id, traits, options) {
    id = idOf(id, "userId");
    if (!id) return;
    traits = copy(traits, "traits");
    check(traits, USER_RESERVED, "traits");
    if (state._user !== id) {
      if (state._user) {
        // Somebody else sits there now: what the one did in this session is not the other's.
        state._session = state._company = undefined;
      }
      state._user = id;
    }
    const token = options?.userToken;
    if (token) {
      state._tokens[id] = String(token);
      delete state._expired[id];
    }
    const of = ofUser(id);
    of._seen = true;
    Object.assign(of._traits, traits);
    for (const key of Object.keys(state._early)) putContext(of, key, state._early[key]);
    state._early = bare();
    // The company was named before the user.
    if (state._company && !state._company._linked) identifyCompany(state._company._id);
  }

  function identifyCompany(id, traits) {
    id = idOf(id, "companyId");
    if (!id) return;
    traits = copy(traits, "traits");
    check(traits, COMPANY_RESERVED, "company traits");
    const user = state._user;
    state._company = { _id: id, _linked: !!user };
    // What waits from before there was a user is part of it.
    const early = json([null, id]);
    const before = user && state._batches.get(early);
    if (before) state._batches.delete(early);
    // To the end of the line: of two companies the one named last is the user's.
    const of = batch(json([user, id]), () => ({ _company: id, _user: user, _traits: bare() }), true);
    Object.assign(of._traits, before?._traits, traits);
  }

  function setContext(key, entry) {
    key = idOf(key, "key");
    if (!key) return;
    const made = copy({ [key]: entry }, "context")[key];
    if (!made || typeof made != "object" || typeof made.label != "string" || !("value" in made)) {
      warn(`setContext(${key}) needs {label, value}: ignored`);
    } else if (state._user) putContext(ofUser(state._user), key, made);
    else state._early[key] = made;
  }

  function clearContext(key) {
    if (key !== undefined && !(key = idOf(key, "key"))) return;
    if (!state._user) {
      if (key) delete state._early[key];
      else state._early = bare();
      return;
    }
    const of = ofUser(state._user);
    if (key) {
      delete of._set[key];
      if (!of._all && !of._gone.includes(key)) of._gone.push(key);
    } else {
      of._all = true;
      of._gone = [];
      of._set = bare();
    }
  }

  function init(options) {
    if (state._options) {
      warn("init was called before: ignored");
      return;
    }
    const { apiKey, apiUrl, userId, companyId, userTraits, companyTraits, context, userToken } = options;
    const at = String(apiUrl || origin).replace(/(\/api\/sdk)?\/*$/, "");
    if (!/^[!-~]+$/.test(apiKey || "") || !at) {
      warn("init needs " + (at ? "an apiKey" : "an apiUrl") + ": ignored");
      return;
    }
    // The server refuses it, too; but then it is out.
    if (typeof document == "object" && /^hs_server_/.test(apiKey)) {
      warn("a server key must not be in a page: revoke it");
      return;
    }
    state._options = options;
    state._key = apiKey;
    state._url = at + "/api/sdk";
    if (userId != null) identify(userId, userTraits, { userToken });
    if (companyId != null) identifyCompany(companyId, companyTraits);
    const entries = copy(context, "context");
    for (const name of Object.keys(entries)) setContext(name, entries[name]);
    listen("addEventListener");
    soon(() => call("onReady", sdk));
    schedule();
  }

  function debug() {
    const options = state._options || {};
    const shown = {
      version: VERSION,
      ready: !!state._options,
      apiUrl: state._url,
      orgId: options.orgId,
      apiKey: !!options.apiKey,
      userId: state._user,
      companyId: state._company?._id,
      sessionId: session(),
      userToken: !!state._tokens[state._user],
      getUserToken: typeof options.getUserToken == "function",
      identityExpired: !!state._expired[state._user],
      pending: state._batches.size + state._outbox.length,
      sent: state._sent,
      failed: state._failed,
      lastError: state._last,
    };
    print("log", shown);
    return shown;
  }

  function destroy() {
    leave({ type: "pagehide" });
    listen("removeEventListener");
    clearTimeout(state._scheduled);
    const old = state;
    state = fresh();
    old._wake?.();
    settle(old);
  }

  function flush() {
    if (!state._options) return Promise.resolve();
    const done = new Promise((resolve) => state._waiting.push(resolve));
    drain();
    return done;
  }

  // --- when to send

  /** When the script that runs now has ended, unless all was forgotten by then. */
  const soon = (run, me = state) => Promise.resolve().then(() => me === state && run());

  function schedule() {
    if (!state._options || state._scheduled !== undefined || state._draining) return;
    const wait = state._flushed + WINDOW - Date.now();
    if (wait > 0) state._scheduled = setTimeout(drain, Math.min(wait, WINDOW));
    else state._scheduled = soon(drain);
  }

  const settle = (of) => of._waiting.splice(0).forEach((done) => done());

  /** Sends until nothing is left. One at a time; the rest of what is said meanwhile goes into batches. */
  async function drain() {
    const me = state;
    clearTimeout(me._scheduled);
    me._scheduled = undefined;
    if (me._draining) return;
    me._draining = true;
    try {
      while (me === state && me._options) {
        let item = me._outbox.find(mayGo);
        if (!item) {
          // What was said while something was under way waits for its company, too, unless somebody waits for it.
          if (!me._waiting.length && Date.now() < me._flushed + WINDOW) break;
          fill();
          item = me._outbox.find(mayGo);
          if (!item) break;
        }
        const wait = await (item._sending = item._sending || send(item));
        if (me !== state) return;
        item._sending = undefined;
        if (wait === undefined) me._outbox = me._outbox.filter((other) => other !== item);
        else if (wait > 0) await pause(wait);
      }
    } catch (e) {
      failed(String(e));
    }
    me._draining = false;
    settle(me);
    if ([...me._batches.values()].some(mayGo)) schedule();
  }

  const mayGo = (of) => !state._expired[of._user];

  const pause = (ms) =>
    new Promise((done) => {
      const timer = setTimeout(
        (state._wake = () => {
          clearTimeout(timer);
          done();
        }),
        ms,
      );
    });

  /** Turns every batch into requests. */
  function fill() {
    const me = state;
    me._flushed = Date.now();
    for (const [name, of] of me._batches) {
      if (!mayGo(of)) continue;
      me._batches.delete(name);
      const put = (path, body, most) => {
        if (size(json(body)) > most) hint(path + ": too large, will be refused");
        me._outbox.push({ _path: path, _body: body, _user: of._user, _tries: 0 });
      };
      if (of._company) put("/companies/identify", { company_id: of._company, user_id: of._user, traits: of._traits }, COMPANY_BYTES);
      else {
        const body = { user_id: of._user };
        const before = of._all || of._gone.length;
        const together = of._seen && !before;
        const parts = pieces(of._set, together ? USER_BYTES - size(json(of._traits)) : USER_BYTES);
        if (of._seen) {
          const seen = { ...body, traits: of._traits, session_id: of._session };
          if (together) seen.context = parts.shift();
          put("/users/identify", seen, USER_BYTES);
        }
        if (of._all) put("/context/clear", { ...body, all: true });
        for (const key of of._gone) put("/context/clear", { ...body, key });
        for (const context of parts) if (Object.keys(context).length) put("/context/set", { ...body, context });
      }
    }
  }

  /** Entries in parts that the server takes; the first has that much room. */
  function pieces(entries, room) {
    const parts = [bare()];
    for (const key of Object.keys(entries)) {
      const weight = size(json({ [key]: entries[key] }));
      if (weight > room) {
        parts.push(bare());
        room = USER_BYTES;
      }
      parts[parts.length - 1][key] = entries[key];
      room -= weight;
    }
    return parts;
  }

  // `randomUUID` is not there in pages without TLS.
  const session = () =>
    (state._session = state._session || globalThis.crypto?.randomUUID?.() || Date.now() + "-" + Math.random());

  // --- one request

  const send = (item, leaving) => attempt(item, leaving).catch((e) => failed(String(e)));

  /** Undefined: done with it, well or not. A number: milliseconds until the next try. */
  async function attempt(item, leaving) {
    const me = state;
    const user = item._user;
    const body = { ...item._body };
    if (user) {
      // A page that is left has no time to ask for one.
      if (me._tokens[user] === undefined && !leaving) await askToken(me, user);
      item._token = me._tokens[user];
      if (item._token) body.user_token = item._token;
    }
    const text = json(body);
    const weight = size(text);
    const keepalive = me._flying + weight <= KEEPALIVE_BYTES;
    if (leaving && !keepalive) return 0;
    item._tries++;
    let answer;
    let why;
    if (keepalive) me._flying += weight;
    try {
      answer = await fetch(me._url + item._path, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: "Bearer " + me._key },
        body: text,
        keepalive,
        credentials: "omit",
        signal: AbortSignal.timeout?.(PATIENCE),
      });
      if (answer.ok) {
        me._sent++;
        return;
      }
    } catch (e) {
      why = String(e);
    } finally {
      if (keepalive) me._flying -= weight;
    }
    if (me !== state) return;
    const status = answer?.status;
    const said = answer ? (await answer.json().catch(() => 0)) || {} : {};
    // The reference's server has no codes; there every 403 is about the token.
    if (status == 403 && user && /^identity/.test(said.code || (said.error && "identity"))) return refused(me, item);
    if ((answer ? status == 429 || status >= 500 : typeof fetch == "function") && item._tries < TRIES) {
      me._last = why || "status " + status;
      return patience(me, item, answer);
    }
    failed(`${item._path}: ${said.error || why || "status " + status}`, {
      path: item._path,
      status,
      code: said.code,
      requestId: said.request_id,
      body: said,
    });
  }

  /** How long to wait: what the server asks for, else a random part of a time that doubles. */
  function patience(me, item, answer) {
    const asked = answer?.headers.get("retry-after");
    if (asked) {
      const ms = /^\d+$/.test(asked) ? asked * 1000 : Date.parse(asked) - Date.now();
      if (ms >= 0) {
        const wait = Math.min(ms, LONGEST_RETRY_AFTER);
        me._until = Date.now() + wait;
        // Not all pages in the same instant.
        return wait + Math.random() * FIRST_WAIT;
      }
    }
    const longest = Math.min(FIRST_WAIT * 2 ** (item._tries - 1), LONGEST_WAIT);
    return longest / 2 + (Math.random() * longest) / 2;
  }

  /** Asks the page for a token; what it has none for is remembered as that. */
  async function askToken(me, user) {
    if (typeof me._options.getUserToken != "function" || user !== me._user) return;
    const token = await within(PATIENCE, Promise.resolve(call("getUserToken", user)));
    me._tokens[user] = token ? String(token) : "";
    return token;
  }

  /** The server does not believe who the user is: another token, once; then the page is told, once. */
  async function refused(me, item) {
    const user = item._user;
    // An answer to a request that went out with an older token says nothing about the one there is now.
    if (me._tokens[user] && me._tokens[user] !== item._token) return 0;
    if (!item._asked) {
      item._asked = true;
      if (await askToken(me, user)) return 0;
    }
    item._asked = false;
    if (me === state && mayGo(item)) {
      me._expired[user] = true;
      me._last = "token refused";
      hint("token refused: identify with another");
      call("onIdentityExpired");
    }
    return 0;
  }

  // --- the end of the page

  function leave(event) {
    const me = state;
    if (!me._options) return;
    if (event.type != "pagehide" && (document.visibilityState != "hidden" || me._until > Date.now())) return;
    fill();
    const rest = me._outbox.filter((item) => !item._sending && mayGo(item));
    let room = KEEPALIVE_BYTES - me._flying;
    // The newest say most about how things are now: what has no room is the oldest.
    for (const item of rest.reverse()) {
      room -= size(json(item._body)) + (me._tokens[item._user] || "").length + 20;
      if (room < 0 && !item._late) warn(item._path + ": too large to outlive the page");
      item._late = room < 0;
    }
    for (const item of rest.reverse()) if (!item._late) item._sending = send(item, true);
    drain();
  }

  const online = () => state._until <= Date.now() && state._wake?.();

  function listen(how) {
    if (typeof document != "object" || typeof window != "object") return;
    document[how]("visibilitychange", hidden);
    window[how]("pagehide", hidden);
    window[how]("online", online);
  }

  /** The same function, but it never throws; it gives the SDK, so that calls can be chained. */
  const safe =
    (run, otherwise = () => sdk) =>
    (...args) => {
      try {
        return run(...args) ?? otherwise();
      } catch (e) {
        warn("a call failed:", e);
        return otherwise();
      }
    };
  const hidden = safe(leave);

  const sdk = {
    version: VERSION,
    init: safe(init),
    identify: safe(identify),
    identifyCompany: safe(identifyCompany),
    setContext: safe(setContext),
    clearContext: safe(clearContext),
    flush: safe(flush, () => Promise.resolve()),
    debug: safe(debug, () => ({})),
    destroy: safe(destroy),
    getInstance: () => (state._options ? sdk : null),
  };
  return sdk;
}
