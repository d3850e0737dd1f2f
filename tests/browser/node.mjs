// The committed files in Node: `node node.mjs http://HOST:PORT`; one line of JSON at the end.
import { readFileSync } from "node:fs";
import { runInThisContext } from "node:vm";

const dist = new URL("../../sdk/browser/dist/", import.meta.url);
const { init, identify, identifyCompany, flush, debug, getInstance } = await import(new URL("v1.mjs", dist));
init({ apiKey: "ab_live_test" });
const without_address = getInstance() !== null;
init({ apiKey: "ab_live_test", apiUrl: process.argv[2] });
identify("user_1", { name: "Jane" });
identifyCompany("acme");
await flush();

runInThisContext(readFileSync(new URL("v1.js", dist), "utf8"));
console.log(JSON.stringify({ module: debug(), script: typeof HaloSync.init, without_address }));
