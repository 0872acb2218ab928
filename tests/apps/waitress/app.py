# Flask behind waitress, which has no handler for TERM.
# GET or POST /fast answers at once, GET /slow?seconds=N after N seconds; the port is $PORT on 127.0.0.1.
import os
import time

from flask import Flask, request
from waitress import serve

app = Flask(__name__)


@app.route("/fast", methods=["GET", "POST"])
def fast():
    return "fast\n"


@app.get("/slow")
def slow():
    time.sleep(float(request.args.get("seconds", 1)))
    return "slow\n"


serve(app, host="127.0.0.1", port=int(os.environ["PORT"]), threads=64)
