"""websockets as an origin: echoes every message."""

import asyncio
import sys

import websockets


async def echo(socket):
    # A socket that is closed for another reason than its work being done is told as an exception.
    try:
        async for message in socket:
            await socket.send(message)
    except websockets.ConnectionClosed:
        pass


async def main():
    async with websockets.serve(echo, sys.argv[1], int(sys.argv[2]), max_size=1 << 24):
        await asyncio.Future()


asyncio.run(main())
