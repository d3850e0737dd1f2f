// Drives Supabase's Stripe engine for benches/peers.rs: a process of its own that takes one JSON command a line
// on stdin, answers each with one JSON line, and ends with stdin.
//
//   node supabase.cjs MODULES
//   {"do":"open","database":URL,"base_url":URL,"api_key":KEY,"webhook_secret":SECRET}
//   {"do":"backfill","objects":["customer", …]}   seconds and how many of each
//   {"do":"serve"}                                the address that takes webhooks
//   {"do":"direct","deliveries":FILE,"at_once":N}  signed deliveries without HTTP, seconds
//   {"do":"close"}
"use strict";

const { createRequire } = require("node:module");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const readline = require("node:readline");

// CommonJS on purpose: loaded as an ES module the package does not find its migrations and says nothing.
const installed = createRequire(path.join(path.resolve(process.argv[2]), "package.json"));
const { StripeSync, runMigrations } = installed("@supabase/stripe-sync-engine");
const Stripe = installed("stripe");

const SCHEMA = "stripe";
let sync = null;
let server = null;

async function open({ database, base_url, api_key, webhook_secret }) {
  // It reports an error of its migrations to a logger alone.
  const said = [];
  const logger = { info() {}, error: (...words) => said.push(words.map(String).join(" ")) };
  await runMigrations({ databaseUrl: database, schema: SCHEMA, logger });
  if (said.length > 0) throw new Error(said.join("; "));
  sync = new StripeSync({
    schema: SCHEMA,
    poolConfig: { connectionString: database },
    stripeSecretKey: api_key,
    stripeWebhookSecret: webhook_secret,
  });
  // It has no setting for the address of the API.
  const url = new URL(base_url);
  sync.stripe = new Stripe(api_key, {
    protocol: url.protocol.slice(0, -1),
    host: url.hostname,
    port: Number(url.port),
    appInfo: { name: "Stripe Postgres Sync" },
  });
  const shown = await sync.postgresClient.query("SHOW synchronous_commit");
  const tables = await sync.postgresClient.query(
    `SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = '${SCHEMA}'`,
  );
  if (Number(tables.rows[0].n) < 10) throw new Error("its migrations made no tables");
  return { synchronous_commit: shown.rows[0].synchronous_commit, connections: sync.postgresClient.pool.options.max };
}

/// Time and processor time of what is done, in seconds.
async function timed(work) {
  const begun = process.hrtime.bigint();
  const used = process.cpuUsage();
  const out = await work();
  const { user, system } = process.cpuUsage(used);
  return { ...out, seconds: Number(process.hrtime.bigint() - begun) / 1e9, processor: (user + system) / 1e6 };
}

async function backfill({ objects }) {
  return timed(async () => {
    let records = 0;
    for (const object of objects) {
      const counts = Object.values(await sync.syncBackfill({ object })).filter((count) => count !== undefined);
      if (counts.length !== 1) throw new Error(`it does not know the object ${object}`);
      records += counts[0].synced;
    }
    return { records };
  });
}

/// As little of a server as there can be: the body, and 200 when the row is written.
async function serve() {
  server = http.createServer((request, response) => {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
      sync.processWebhook(Buffer.concat(parts), request.headers["stripe-signature"]).then(
        () => answer(response, 200, '{"received":true}'),
        (error) => {
          process.stderr.write(`${error.stack}\n`);
          answer(response, 400, '{"received":false}');
        },
      );
    });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `127.0.0.1:${server.address().port}` };
}

function answer(response, status, body) {
  response.writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

async function direct({ deliveries, at_once }) {
  const lines = fs.readFileSync(deliveries, "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
  return timed(async () => {
    let next = 0;
    const worker = async () => {
      while (next < lines.length) {
        const { signature, body } = lines[next++];
        await sync.processWebhook(body, signature);
      }
    };
    await Promise.all(Array.from({ length: at_once }, worker));
    return { deliveries: lines.length };
  });
}

async function close() {
  if (server !== null) {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    server = null;
  }
  // The database may be dropped while the last connections still say goodbye.
  sync.postgresClient.pool.on("error", () => {});
  await sync.close();
  return {};
}

const commands = { open, backfill, serve, direct, close };

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    const out = await commands[command.do](command);
    process.stdout.write(`${JSON.stringify(out)}\n`);
  }
}

main().then(
  () => process.exit(0),
  (error) => {
    process.stderr.write(`${error.stack}\n`);
    process.exit(1);
  },
);
