"""aiohttp: many requests at once over few connections, content in both directions, and a WebSocket."""

import asyncio
import json
import sys
import zlib

import aiohttp

front = sys.argv[1]
made = 0


async def ask(session, method, path, **more):
    global made
    async with session.request(method, front + path, **more) as answer:
        content = await answer.read()
        made += 1 + len(answer.history)
        assert answer.status < 400, (path, answer.status)
        if path == "/none" or method == "HEAD":
            assert content == b"", content
            return None
        line, _, filler = content.partition(b"\n")
        return json.loads(line), filler


async def pieces(content):
    for at in range(0, len(content), 9_973):
        yield content[at : at + 9_973]


async def send(session, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    expected = (size, zlib.crc32(content))
    for more in [{"data": content}, {"data": pieces(content)}, {"data": content, "expect100": True}]:
        told, _ = await ask(session, "POST", "/", **more)
        assert (told["body_bytes"], told["body_sum"]) == expected, told


async def main():
    global made
    connector = aiohttp.TCPConnector(limit=8)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        paths = ["/", "/chunks", "/none", "/early-hints", "/moved", "/until-end"] * 30
        await asyncio.gather(*(ask(session, "GET", f"{path}") for path in paths))
        for size in [0, 1, 70_000, 2_000_000]:
            await send(session, size)
        told, _ = await ask(session, "POST", "/moved", data=b"kept")
        assert (told["method"], told["target"], told["body_begin"]) == ("POST", "/there", "kept"), told
        await ask(session, "HEAD", "/")
        for path in ["/", "/chunks"]:
            _, filler = await ask(session, "GET", path, headers={"X-Answer-Bytes": "3000000"})
            assert len(filler) == 3_000_000
        async with session.ws_connect(front + "/socket") as socket:
            made += 1
            for size in [0, 125, 126, 65_535, 65_536, 1_000_000]:
                await socket.send_bytes(b"x" * size)
                assert await socket.receive_bytes() == b"x" * size
        assert socket.close_code == 1000, socket.close_code


asyncio.run(main())
print(f"well: {made}")
