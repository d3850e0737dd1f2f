// Every public call with what no page should give it. What is thrown ends up in `window.thrown`.
window.thrown = [];
const attempt = (run) => {
  try {
    const given = run();
    if (given && typeof given.then == "function") given.then(null, (error) => window.thrown.push("rejected: " + error));
  } catch (error) {
    let text = "?";
    try {
      text = String(error);
    } catch {}
    window.thrown.push(run + ": " + text);
  }
};
const cyclic = { label: "Cyclic" };
cyclic.value = cyclic;
const evil = new Proxy({}, {
  get() { throw new Error("get"); },
  has() { throw new Error("has"); },
  ownKeys() { throw new Error("keys"); },
  getOwnPropertyDescriptor() { throw new Error("descriptor"); },
  getPrototypeOf() { throw new Error("prototype"); },
});
const getter = { get value() { throw new Error("value"); }, get label() { throw { toString() { throw new Error("twice"); } }; } };
const dead = Proxy.revocable({}, {});
dead.revoke();
let deep = {};
for (let n = 0; n < 100000; n++) deep = { deep };
const values = [
  undefined, null, 0, -0, NaN, Infinity, 7n, 123456789012345678901234567890n, true, "", "x", "\ud800", "\0",
  "y".repeat(2_000_000), Symbol("s"), () => { throw new Error("called"); }, [], [1], cyclic, evil, getter, dead.proxy, deep,
  new Date(NaN), new Map([[1, 2]]), new Error("e"), document, new (class { toJSON() { throw new Error("json"); } })(),
  Object.create(null), { __proto__: null, toString: null }, { label: 1, value: 1 }, { label: "L" }, Object.freeze({ label: "L", value: 1 }),
  Promise.resolve(1), { then() { throw new Error("then"); } }, { apiKey: 7 }, { get apiKey() { throw new Error("key"); } },
  JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}'),
];
const calls = ["identify", "identifyCompany", "setContext", "clearContext"];
for (const value of values) attempt(() => HaloSync.init(value));
for (const name of calls) {
  attempt(() => HaloSync[name]());
  attempt(() => HaloSync[name](window, window, window));
  for (const one of values) {
    attempt(() => HaloSync[name](one));
    for (const two of [evil, cyclic, { label: "L", value: 1 }, one]) attempt(() => HaloSync[name](one, two, one));
  }
}
attempt(() => HaloSync.flush());
attempt(() => HaloSync.destroy());
attempt(() =>
  HaloSync.init({
    apiKey: "ab_live_test",
    userId: 77,
    userTraits: {
      good: 1,
      big: 12345678901234567890n,
      date: new Date("2026-01-01"),
      nothing: null,
      undefined: undefined,
      ["__proto__"]: "own",
      proxy: new Proxy({ a: 1 }, {}),
      emoji: "\u{1f984}\ud83e",
      nan: NaN,
      symbol: Symbol("s"),
      function() {},
      cyclic,
      evil,
      getter,
      deep,
      dead: dead.proxy,
      huge: "z".repeat(20_000_000),
      get broken() { throw new Error("broken"); },
    },
    onError() { throw new Error("page"); },
    onReady() { throw new Error("page"); },
  }),
);
for (const name of calls) for (const value of values) attempt(() => HaloSync[name](evil, value, value));
for (const value of [...values, evil]) for (const name of ["debug", "getInstance", "flush", "init"]) attempt(() => HaloSync[name](value, value));
const { identify, setContext, flush } = HaloSync;
attempt(() => identify.call(null, "77", { good: 1 }));
attempt(() => setContext.apply(undefined, ["key", cyclic]));
