// fetch of Node against a server of files: compressed and not, a part, and what has not changed.
import assert from "node:assert/strict";

const url = `${process.argv[2]}/text.txt`;
const text = "a line of text\n".repeat(10_000);

const compressed = await fetch(url);
assert.equal(compressed.headers.get("content-encoding"), "gzip");
assert.equal(await compressed.text(), text);

const plain = await fetch(url, { headers: { "Accept-Encoding": "identity" } });
assert.equal(plain.headers.get("content-length"), String(text.length));
assert.equal(await plain.text(), text);

const part = await fetch(url, { headers: { "Accept-Encoding": "identity", Range: "bytes=5-24" } });
assert.deepEqual([part.status, await part.text()], [206, text.slice(5, 25)]);

const same = await fetch(url, { headers: { "Accept-Encoding": "identity", "If-None-Match": plain.headers.get("etag") } });
assert.deepEqual([same.status, await same.text()], [304, ""]);

console.log("well: 4");
