# A WSGI app for gunicorn: a master with two workers of eight threads each, which drain on TERM.
# GET /fast answers at once, GET /slow?seconds=N after N seconds; the port comes from the command line.
import time
from urllib.parse import parse_qs


def app(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/slow":
        query = parse_qs(environ.get("QUERY_STRING", ""))
        time.sleep(float(query.get("seconds", ["1"])[0]))
    body = path.encode() + b"\n"
    status = "200 OK" if path in ("/fast", "/slow") else "404 Not Found"
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
