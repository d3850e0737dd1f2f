/** For `<script>`: the global `HaloSync`, and another name for it where the tag has `data-alias`. */
import { create } from "./core.js";
import { base } from "./origin.js";

const script = typeof document == "object" ? document.currentScript : null;
const sdk = create(base(script?.src));

/** Calls that were made before this file was there (the snippet's stub keeps them), now and from now on. */
function replay(queue) {
  const run = ([method, ...args]) => {
    try {
      const given = sdk[method](...args);
      // The stub's flush() is a promise already; it brings what resolves it.
      if (method == "flush" && typeof args[0] == "function") given.then(args[0]);
    } catch {
      // Not a call of ours.
    }
  };
  const calls = queue.splice(0);
  Object.assign(queue, sdk, { push: (...more) => more.forEach(run) });
  calls.forEach(run);
}

/** Puts the SDK under a global name. */
function claim(name, mayReplace) {
  const there = globalThis[name];
  if (there && !Array.isArray(there) && !mayReplace) return;
  globalThis[name] = sdk;
  if (Array.isArray(there)) replay(there);
}

try {
  if (globalThis.HaloSync?.version) console.warn("[halo-sync] loaded twice: ignored");
  else {
    claim("HaloSync", true);
    if (script?.dataset.alias) claim(script.dataset.alias);
  }
} catch {
  // A page that forbids the name.
}
