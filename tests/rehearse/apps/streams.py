# Answers as in production: pauses, uploads, server-sent events, websockets; over TLS with $CERT, on a unix socket with
# $SOCKET. $RUDE names what it does wrong in its stop: "cut" breaks streams off, "keep" drops keep-alive connections with
# requests on them. Otherwise its stop is orderly: answers after the listener is closed have Connection: close.
import base64
import hashlib
import os
import select
import socket
import ssl
import struct
import time

from server import Server

RUDE = os.environ.get("RUDE", "")


class Streams(Server):
    def __init__(self):
        super().__init__()
        self.tls = None
        self.last = False
        if "SOCKET" in os.environ:
            self.listener.close()
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(os.environ["SOCKET"])
            self.listener.listen(128)
        if "CERT" in os.environ:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(os.environ["CERT"])

    def close_listener(self):
        super().close_listener()
        self.last = RUDE != "keep"

    def drain(self):
        super().drain()
        # Until no request has come for a while, so that clients with keep-alive connections get Connection: close.
        quiet = 0
        while quiet < 30 and not RUDE:
            time.sleep(0.01)
            quiet = 0 if self.busy else quiet + 1

    def converse(self, connection):
        try:
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            reader = connection.makefile("rb")
            while True:
                line = reader.readline().decode().split(" ")
                if len(line) < 2:
                    return
                headers = {}
                while header := reader.readline().decode().strip():
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                with self.lock:
                    self.busy[connection] = line[1]
                try:
                    body = reader.read(int(headers.get("content-length", 0)))
                    if not self.reply(connection, line[0], line[1], headers, body):
                        return
                finally:
                    with self.lock:
                        self.busy.pop(connection, None)
        except (OSError, ValueError):
            pass
        finally:
            # The reading thread may still use it.
            try:
                if self.tls:
                    connection.unwrap()
                connection.shutdown(socket.SHUT_RDWR)
            except (OSError, ValueError):
                pass
            connection.close()

    # True when another request may follow.
    def reply(self, connection, method, path, headers, body):
        path, _, query = path.partition("?")
        if path == "/events":
            return self.events(connection)
        if path == "/ws":
            return self.websocket(connection, headers)
        if path == "/upload":
            good = method == "PUT" and headers.get("x-who") == "me" and len(body) == int(query)
            status = "200 OK" if good else "500 Wrong"
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
            return True
        if path == "/slow":
            time.sleep(float(query))
        last = self.last
        close = "Connection: close\r\n" if last else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n{close}\r\nfirst".encode())
        if path == "/pause":
            time.sleep(float(query))
        connection.sendall(b" last")
        return not last

    def events(self, connection):
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        while not self.stopping:
            connection.sendall(b"7\r\ndata: \n\r\n")
            time.sleep(0.05)
        time.sleep(0.2)
        if RUDE != "cut":
            connection.sendall(b"0\r\n\r\n")
        return False

    def websocket(self, connection, headers):
        key = headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        connection.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        while not self.stopping:
            if select.select([connection], [], [], 0.05)[0]:
                frame = connection.recv(6)
                if not frame or frame[0] == 0x88:
                    return False
                connection.sendall(b"\x8a\x00" + b"\x81\x02hi")
        time.sleep(0.2)
        if RUDE != "cut":
            connection.sendall(b"\x88\x02" + struct.pack(">H", 1001))
        return False


Streams().run()
