// fetch of Node: requests at once, content as text and as a stream, redirects, and one that is given up.
import assert from "node:assert/strict";
import { crc32 } from "./crc32.mjs";

const front = process.argv[2];
let made = 0;

async function ask(path, options = {}) {
  const answer = await fetch(front + path, options);
  made += answer.redirected ? 2 : 1;
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  const content = new Uint8Array(await answer.arrayBuffer());
  const end = content.indexOf(10);
  if (end < 0) return { answer, content };
  const told = JSON.parse(new TextDecoder().decode(content.subarray(0, end)));
  return { answer, content, told, filler: content.subarray(end + 1) };
}

for (let round = 0; round < 5; round += 1) {
  const paths = ["/", "/chunks", "/none", "/early-hints", "/until-end", "/moved"].flatMap((path) => Array(5).fill(path));
  await Promise.all(paths.map((path) => ask(path)));
}

for (const size of [0, 1, 70_000, 2_000_000]) {
  const body = new Uint8Array(size).map((_, ix) => ix % 251);
  const whole = await ask("/", { method: "POST", body });
  assert.deepEqual([whole.told.body_bytes, whole.told.body_sum], [size, crc32(body)]);
  // Node knows of an empty stream that it is empty.
  const framing = size === 0 ? "length" : "chunked";
  const stream = new Blob([body]).stream();
  const streamed = await ask("/", { method: "PUT", body: stream, duplex: "half" });
  assert.deepEqual([streamed.told.framing, streamed.told.body_sum], [framing, crc32(body)]);
}

const form = new FormData();
form.set("key", "value");
form.set("file", new Blob(["content"]), "name");
const sent = await ask("/form", { method: "POST", body: form });
assert.ok(sent.told.body_begin.includes('name="key"'), sent.told.body_begin);

for (const path of ["/", "/chunks"]) {
  const { answer, content, filler } = await ask(path, { headers: { "X-Answer-Bytes": "1000000" } });
  assert.equal(filler.length, 1_000_000);
  const sum = answer.headers.get("X-Body-Sum");
  assert.ok(sum === null || sum === crc32(content).toString(16).padStart(8, "0"), sum);
}

const moved = await ask("/moved", { method: "POST", body: "kept" });
assert.deepEqual([moved.told.method, moved.told.target, moved.told.body_begin], ["POST", "/there", "kept"]);
const head = await ask("/", { method: "HEAD" });
assert.equal(head.content.length, 0);

console.log(`well: ${made}`);
