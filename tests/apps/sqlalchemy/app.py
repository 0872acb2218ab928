# An app with a database pool: SQLAlchemy over psycopg, behind Python's http.server, closing its pool as it exits in order.
# DATABASE_URL is postgresql+psycopg://...; every request asks the database, GET /slow?seconds=N by pg_sleep(N).
# The port is $PORT on 127.0.0.1. On TERM Python would die at once; a handler that raises SystemExit lets atexit close the pool.
import atexit
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"], pool_size=5, max_overflow=20)
atexit.register(engine.dispose)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        seconds = float(parse_qs(url.query).get("seconds", ["1"])[0]) if url.path == "/slow" else 0
        with engine.connect() as connection:
            connection.execute(text("select pg_sleep(:seconds)"), {"seconds": seconds})
        body = url.path.encode() + b"\n"
        self.send_response(200 if url.path in ("/fast", "/slow") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


with engine.connect() as connection:
    connection.execute(text("select 1"))
Server(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
