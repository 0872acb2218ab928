# What the bad apps have in common: an HTTP server on $PORT (127.0.0.1) with keep-alive and a thread for each connection.
# GET /slow?seconds=N takes N seconds, everything else answers at once. Each bad app does one thing wrong in its stop. The
# rest is orderly: it keeps serving for WAIT seconds, closes its listener, finishes requests in flight, and exits.
import os
import signal
import socket
import threading
import time

WAIT = 1.2


class Server:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=128)
        self.stopping = False
        self.lock = threading.Lock()
        self.busy = {}  # connection -> the time at which its request came

    def note_stop(self, *_):
        self.stopping = True

    # Bad apps override these.
    def on_accept(self, connection):
        return True

    def on_stop(self):
        pass

    def on_leave(self):
        os._exit(0)

    def run(self):
        signal.signal(signal.SIGTERM, self.note_stop)
        threading.Thread(target=self.accept, daemon=True).start()
        # An Event would deadlock when a handler that interrupts its wait sets it.
        while not self.stopping:
            time.sleep(0.005)
        self.on_stop()
        self.drain()
        self.on_leave()

    def drain(self):
        time.sleep(WAIT)
        self.close_listener()
        while self.busy:
            time.sleep(0.01)

    def close_listener(self):
        # shutdown wakes the thread in accept(); with close alone the socket would keep listening.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.on_accept(connection):
                threading.Thread(target=self.converse, args=(connection,), daemon=True).start()

    def converse(self, connection):
        try:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    more = connection.recv(4096)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                self.answer(connection, head.split(b" ")[1].decode())
        except OSError:
            pass
        finally:
            connection.close()

    def answer(self, connection, path):
        with self.lock:
            self.busy[connection] = path
        try:
            if path.startswith("/slow"):
                time.sleep(float(path.partition("=")[2] or 1))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        finally:
            with self.lock:
                self.busy.pop(connection, None)
