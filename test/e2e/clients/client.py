"""GET /big and POST /echo with the library that is named; prints the SHA-256 of what came, and what was answered."""
import hashlib
import sys

library, base = sys.argv[1:]
body = b"x" * 300_000


def with_urllib():
    from urllib.request import Request, urlopen

    big = urlopen(base + "/big").read()
    return big, urlopen(Request(base + "/echo", data=body, method="POST")).read()


def with_requests():
    import requests

    with requests.Session() as session:
        big = session.get(base + "/big").content
        return big, session.post(base + "/echo", data=(body[i : i + 50_000] for i in range(0, 300_000, 50_000))).content


def with_httpx():
    import httpx

    with httpx.Client() as client:
        return client.get(base + "/big").content, client.post(base + "/echo", content=body).content


def with_aiohttp():
    import asyncio

    import aiohttp

    async def run():
        # It takes no proxy from the environment unless it is told to.
        async with aiohttp.ClientSession(trust_env=True) as session:
            async with session.get(base + "/big") as answer:
                big = await answer.read()
            async with session.post(base + "/echo", data=body) as answer:
                return big, await answer.read()

    return asyncio.run(run())


big, echo = globals()["with_" + library]()
print(hashlib.sha256(big).hexdigest(), echo.decode())
