# Flask for its own development server, which many run in production all the same; no signal handler.
# GET or POST /fast answers at once, GET /slow?seconds=N after N seconds; the port comes from the command line.
import time

from flask import Flask, request

app = Flask(__name__)


@app.route("/fast", methods=["GET", "POST"])
def fast():
    return "fast\n"


@app.get("/slow")
def slow():
    time.sleep(float(request.args.get("seconds", 1)))
    return "slow\n"
