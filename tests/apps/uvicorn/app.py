# FastAPI under uvicorn, which on TERM stops accepting, finishes its requests and exits.
# GET or POST /fast answers at once, GET /slow?seconds=N after N seconds; the port comes from the command line.
import asyncio

from fastapi import FastAPI

app = FastAPI()


@app.api_route("/fast", methods=["GET", "POST"])
async def fast():
    return "fast"


@app.get("/slow")
async def slow(seconds: float = 1):
    await asyncio.sleep(seconds)
    return "slow"
