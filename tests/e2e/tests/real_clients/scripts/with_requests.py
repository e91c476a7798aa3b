"""requests: one session, all kinds of content, over one connection."""

import sys
import zlib

import requests

front = sys.argv[1]
session = requests.Session()
session.trust_env = False
made = 0


def ask(method, path, **more):
    global made
    answer = session.request(method, front + path, timeout=60, **more)
    made += 1 + len(answer.history)
    answer.raise_for_status()
    return answer


def account(answer):
    line, _, _ = answer.content.partition(b"\n")
    return requests.models.complexjson.loads(line)


# What goes up arrives, with its length and in chunks.
for size in [0, 1, 70_000, 3_000_000]:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    told = account(ask("POST", "/", data=content))
    assert (told["body_bytes"], told["body_sum"]) == (size, zlib.crc32(content)), told

    def pieces():
        for at in range(0, size, 10_007):
            yield content[at : at + 10_007]

    told = account(ask("PUT", "/", data=pieces()))
    assert (told["framing"], told["body_sum"]) == ("chunked", zlib.crc32(content)), told

told = account(ask("POST", "/form?a=b&a=c", files={"file": ("name", b"content")}, data={"key": "value"}))
assert told["target"] == "/form?a=b&a=c" and 'name="key"' in told["body_begin"], told
told = account(ask("PATCH", "/json", json={"key": [1, 2, 3]}, cookies={"cake": "eaten"}))
assert told["body_begin"] == '{"key": [1, 2, 3]}' and "cake=eaten" in told["head"], told

# What comes down comes whole, in pieces as in one.
for path in ["/", "/chunks"]:
    whole = ask("GET", path, headers={"X-Answer-Bytes": "2000000"})
    assert len(whole.content) > 2_000_000 and whole.headers.get("X-Body-Sum") in (None, f"{zlib.crc32(whole.content):08x}")
    with ask("GET", path, headers={"X-Answer-Bytes": "2000000"}, stream=True) as answer:
        joined = b"".join(answer.iter_content(10_000))
    assert len(joined.partition(b"\n")[2]) == 2_000_000

assert ask("HEAD", "/").content == b""
assert ask("GET", "/none").status_code == 204

# 307 keeps method and content.
moved = ask("POST", "/moved", data=b"kept")
told = account(moved)
assert (len(moved.history), told["method"], told["target"], told["body_begin"]) == (1, "POST", "/there", "kept"), told

# All of that went over one connection.
pool = session.get_adapter(front).poolmanager.connection_from_url(front)
assert pool.num_connections == 1, pool.num_connections

# An origin whose answer ends with its connection.
told = account(ask("GET", "/until-end", headers={"X-Answer-Bytes": "100000"}))
assert told["target"] == "/until-end", told

session.close()
print(f"well: {made}")
