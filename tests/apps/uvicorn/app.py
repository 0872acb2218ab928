# FastAPI under uvicorn, which on TERM stops accepting, finishes its requests and exits.
# GET /fast answers at once, GET /slow?seconds=N after N seconds; the port comes from the command line.
import asyncio

from fastapi import FastAPI

app = FastAPI()


@app.get("/fast")
async def fast():
    return "fast"


@app.get("/slow")
async def slow(seconds: float = 1):
    await asyncio.sleep(seconds)
    return "slow"
