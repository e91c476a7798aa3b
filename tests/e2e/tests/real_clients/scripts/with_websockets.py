"""websockets: messages of every length encoding, many sockets at once, pings, and both closing handshakes."""

import asyncio
import sys

import websockets

front = sys.argv[1].replace("http://", "ws://")
made = 0


async def talk(number, compression):
    global made
    async with websockets.connect(f"{front}/{number}", compression=compression, max_size=1 << 24) as socket:
        made += 1
        for size in [0, 1, 125, 126, 65_535, 65_536, 1_000_000]:
            content = bytes((number + at) % 256 for at in range(min(size, 1_000))) * (size // 1_000 + 1)
            await socket.send(content[:size])
            assert await socket.recv() == content[:size], (number, size)
        await socket.send("text: ø, 語")
        assert await socket.recv() == "text: ø, 語"
        # A message in fragments comes back whole.
        await socket.send(["a", "b" * 70_000, "c"])
        assert await socket.recv() == "a" + "b" * 70_000 + "c"
        await (await socket.ping())
        await socket.close(code=4000 + number, reason="enough")
        assert (socket.close_code, socket.close_reason) == (4000 + number, "enough"), socket.close_code


async def main():
    await asyncio.gather(*(talk(number, "deflate" if number % 2 else None) for number in range(20)))


asyncio.run(main())
print(f"well: {made}")
