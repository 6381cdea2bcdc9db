"""A Daraja that takes its time for each push, and answers any number of them side by side.

Run as a script with the seconds of a push, it prints its port and serves until it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys

_IDS = itertools.count(1)
_TOKEN = {"access_token": "c9SQxWWhmdVRlyh0zh8gZDTkubVF", "expires_in": "3599"}


def _accepted() -> dict[str, str]:
    return {
        "MerchantRequestID": f"29115-34620561-{next(_IDS)}",
        "CheckoutRequestID": f"ws_CO_19122019102036{next(_IDS):06}",
        "ResponseCode": "0",
        "ResponseDescription": "Success. Request accepted for processing",
        "CustomerMessage": "Success. Request accepted for processing",
    }


async def _talk(think: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request after the other on one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length or 0))
            is_push = b"/stkpush/" in head.split(b"\r\n", 1)[0]
            await asyncio.sleep(think if is_push else 0.0)
            body = json.dumps(_accepted() if is_push else _TOKEN).encode()
            start = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            writer.write(f"{start}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            await writer.drain()
            if b"connection: close" in head:
                break
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()


async def _serve(think: float) -> None:
    def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> asyncio.Future[None]:
        return asyncio.ensure_future(_talk(think, reader, writer))

    server = await asyncio.start_server(take, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
