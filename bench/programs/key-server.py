"""A store of keys and values, one line a request: key-server.py PORT MIB. Says "ready" when it is filled and listens."""

import asyncio
import sys

VALUE_LENGTH = 1024
CHURN_SECONDS = 0.01
CHURNED_PAIRS = 100

port, mib = int(sys.argv[1]), int(sys.argv[2])
count = mib * 1024


def fill_value(index):
    word = f"{index}-"
    return (word * (VALUE_LENGTH // len(word) + 1))[:VALUE_LENGTH]


pairs = {f"fill-{index}": fill_value(index) for index in range(count)}


async def churn():
    """Writes some pairs anew, as a program does that works on its data."""
    index = 0
    while count > 0:
        for _ in range(CHURNED_PAIRS):
            index = (index + 1) % count
            pairs[f"fill-{index}"] = fill_value(index)
        await asyncio.sleep(CHURN_SECONDS)


async def serve(reader, writer):
    while line := await reader.readline():
        verb, key, *value = line.decode().split()
        if verb == "put":
            pairs[key] = value[0]
        answer = pairs.get(key, "") if verb == "get" else "ok"
        writer.write(f"{answer}\n".encode())
        await writer.drain()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    churning = asyncio.create_task(churn())
    print("ready", flush=True)
    async with server:
        await asyncio.gather(server.serve_forever(), churning)


asyncio.run(main())
