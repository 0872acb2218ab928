# Plays clients, each in a state of its own: `state port tls` a line on stdin. Says `ready STATE PORT` when the stop may come,
# `done STATE PORT` when nothing is owed to the client any more, `lost STATE PORT why` when it did not get what it asked for.
import socket, ssl, struct, sys, threading, time, traceback

lock = threading.Lock()

def say(*words):
    with lock:
        print(*words, flush=True)

def connect(port, tls):
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if tls != "plain":
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        s = context.wrap_socket(s)
    s.settimeout(150)
    return s

def head(path, method="GET", *more):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "User-Agent: a client of a usual length", *more, "", ""]
    return "\r\n".join(lines).encode()

class Reader:
    def __init__(self, s):
        self.s, self.left = s, b""
    def more(self):
        data = self.s.recv(65536)
        if not data:
            raise EOFError("closed in the middle of an answer")
        self.left += data
    def until(self, mark):
        while mark not in self.left:
            self.more()
        part, self.left = self.left.split(mark, 1)
        return part
    def exactly(self, n):
        while len(self.left) < n:
            self.more()
        part, self.left = self.left[:n], self.left[n:]
        return part
    def answer(self):
        while True:
            lines = self.until(b"\r\n\r\n").decode().split("\r\n")
            status = int(lines[0].split()[1])
            if status >= 200 or status == 101:
                break
        fields = {l.split(":")[0].lower(): l.split(":", 1)[1].strip() for l in lines[1:]}
        if status == 101:
            return status
        if "content-length" in fields:
            self.exactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                self.exactly(size + 2)
            self.until(b"\r\n")
        return status

class Play:
    def __init__(self, state, port, tls):
        self.state, self.port, self.tls = state, port, tls
    def ready(self):
        say("ready", self.state, self.port)
    def done(self):
        say("done", self.state, self.port)
    def open(self):
        self.s = connect(self.port, self.tls)
        self.r = Reader(self.s)
    def send(self, data):
        self.s.sendall(data)
    def ask(self, path, *more, method="GET"):
        self.send(head(path, method, *more))
    def get(self, path):
        self.ask(path)
        assert self.r.answer() == 200
    def stop_then_answer(self, after=0.3):
        time.sleep(after)
        self.ready()
        assert self.r.answer() == 200
        self.done()
    def rest(self):
        self.done()
        self.ready()
    def returns(self, exchange):
        # Rests, and works still when the stop is long over.
        self.rest(); time.sleep(15); exchange()
        say("works", self.state, self.port)
    def keep(self):
        time.sleep(600)

    # One request.
    def plain(self, path):
        self.open(); self.ask(path); self.stop_then_answer()
    def on_a_kept_connection(self, path, before=20):
        self.open()
        for _ in range(before):
            self.get("/fast"); time.sleep(0.01)
        self.ask(path); self.stop_then_answer()
    def second(self, path):
        # So soon after the first answer that both may share a tick of the kernel's clock.
        self.open(); self.get("/fast")
        self.ask(path); self.stop_then_answer()
    def kept(self, exchanges):
        # The last answer comes later than its request by more than a tick of the kernel's clock.
        self.open()
        for _ in range(exchanges - 1):
            self.get("/fast"); time.sleep(0.01)
        self.get("/slow/0.02"); self.rest()
    def kept_fast(self, exchanges):
        # So fast that request and answer may share a tick, and nothing tells which was last.
        self.open()
        for _ in range(exchanges):
            self.get("/fast"); time.sleep(0.01)
        self.rest()
    def kept_until_closed(self, exchanges):
        # Closed between two requests, if at all.
        self.kept(exchanges)
        while not self.is_closed(): pass
        say("closed", self.state, self.port)
    def asks_for(self, seconds):
        # And is never closed.
        self.open(); self.get("/fast"); self.ready()
        end = time.time() + seconds
        while time.time() < end:
            self.get("/fast"); assert not self.is_closed()
        self.done()
    def asks_until_closed(self):
        # What is closed behind an answer is known to be before the next request.
        self.open(); self.get("/fast"); self.ready()
        while not self.is_closed():
            self.get("/fast")
        self.done(); say("closed", self.state, self.port)
    def is_closed(self):
        self.s.settimeout(0.03)
        try:
            return self.s.recv(1) == b""
        except TimeoutError:
            return False
        except ssl.SSLError:
            # OpenSSL's alert about an end of file without one of TLS's own.
            return True
        finally:
            self.s.settimeout(150)
    def kept_busy_before(self):
        # Asks until a second into the stop, as through a balancer that then turns away.
        self.open(); self.get("/fast"); self.ready()
        end = time.time() + 2
        n = 0
        while time.time() < end:
            n += 1
            self.get(f"/size/{100 + 37 * (n % 40)}"); time.sleep(0.03)
        self.done()
    def silent(self):
        self.s = socket.create_connection(("127.0.0.1", self.port)); self.rest()
    def upload(self, parts, size, pause, work):
        self.open()
        self.ask(f"/upload/{work}", f"Content-Length: {parts * size}", method="POST")
        for n in range(parts):
            self.send(b"x" * size)
            if n == 1 or parts == 1: self.ready()
            time.sleep(pause)
        assert self.r.answer() == 200
        self.done()
    def expects(self):
        self.open()
        self.ask("/upload/5", "Content-Length: 100", "Expect: 100-continue", method="POST")
        self.r.until(b"\r\n\r\n")
        self.ready()
        time.sleep(7)
        self.send(b"x" * 100)
        assert self.r.answer() == 200
        self.done()
    def pipelined(self, seconds):
        self.open()
        self.send(head("/fast") + head(f"/slow/{seconds}"))
        assert self.r.answer() == 200
        self.stop_then_answer()
    def reads_slowly(self, size):
        # In small pieces over some seconds, with little room for what was not read yet.
        self.s = socket.socket(); self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
        self.s.connect(("127.0.0.1", self.port)); self.s.settimeout(150); self.r = Reader(self.s)
        self.ask(f"/size/{size}"); self.r.until(b"\r\n\r\n"); self.ready()
        for _ in range(100):
            self.r.exactly(size // 100); time.sleep(0.05)
        self.done()
    def half_closed(self):
        self.open(); self.ask("/slow/6"); self.s.shutdown(socket.SHUT_WR); self.stop_then_answer()
    def leaked(self):
        self.open(); self.get("/leak"); self.s.close(); self.rest()
    def backlog(self, seconds):
        # Behind a request that a server without threads works on, in the queue of its listener.
        path = f"/slow/{seconds}"
        plays = [Play(self.state, self.port, self.tls) for _ in range(4)]
        for play in plays:
            play.open(); play.ask(path, "Connection: close"); time.sleep(0.2)
        self.ready()
        for play in plays:
            assert play.r.answer() == 200
        self.done()
    def health(self):
        self.open(); self.get("/fast"); self.rest()
        while True:
            time.sleep(0.9); self.get("/fast")
    # Websockets, after the handshake with frames that are long enough.
    def websocket(self, last):
        self.open()
        self.ask("/ws", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        assert self.r.answer() == 101
        ping = b"\x89\x84\0\0\0\0ping"
        if last == "server":
            self.send(ping); self.r.exactly(6); self.rest()
        elif last == "returning":
            self.send(ping); self.r.exactly(6)
            self.returns(lambda: (self.send(ping), self.r.exactly(6)))
        elif last == "client":
            self.send(b"\x81\x84\0\0\0\0text"); time.sleep(0.3); self.rest()
        else:
            self.rest()
            while True:
                self.send(ping); self.r.exactly(6); time.sleep(1)
    # HTTP/2 with prior knowledge.
    def h2_open(self):
        self.s = connect(self.port, "plain"); self.r = Reader(self.s); self.stream = -1; self.answers = {}
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(4, 0, 0, b""))
        threading.Thread(target=self.h2_read, daemon=True).start()
    def frame(self, kind, flags, stream, payload):
        return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
    def h2_read(self):
        try:
            while True:
                frame = self.r.exactly(9)
                length, kind, flags = int.from_bytes(frame[:3], "big"), frame[3], frame[4]
                stream = int.from_bytes(frame[5:9], "big")
                payload = self.r.exactly(length)
                if kind == 4 and not flags & 1: self.send(self.frame(4, 1, 0, b""))
                if kind in (0, 1) and flags & 1: self.answers[stream].set()
        except Exception as error:
            if not all(answer.is_set() for answer in list(self.answers.values())):
                say("lost", self.state, self.port, repr(error).replace(" ", "_"))
    def h2_ask(self, path, method="GET"):
        self.stream += 2
        # Method, scheme and most paths by their index, the authority by its own after the first time.
        authority = b"\xbe" if self.stream > 1 else b"\x41\x09localhost"
        block = {"GET": b"\x82\x86", "POST": b"\x83\x86"}[method]
        block += (b"\x84" if path == "/fast" else b"\x04" + bytes([len(path)]) + path.encode()) + authority
        self.answers[self.stream] = threading.Event()
        self.send(self.frame(1, 5 if method == "GET" else 4, self.stream, block))
        return self.answers[self.stream]
    def h2_get(self, path):
        assert self.h2_ask(path).wait(150)
    def h2_idle(self):
        self.h2_open(); [self.h2_get("/fast") for _ in range(5)]; time.sleep(0.3); self.rest()
    def h2_returning(self):
        self.h2_open(); [self.h2_get("/fast") for _ in range(5)]
        self.returns(lambda: self.h2_get("/fast"))
    def h2_pinging(self):
        self.h2_open(); self.h2_get("/fast"); self.rest()
        while True:
            self.send(self.frame(6, 0, 0, b"12345678")); time.sleep(1)
    def h2_plain(self, path):
        self.h2_open(); self.h2_get("/fast")
        answer = self.h2_ask(path)
        time.sleep(0.3); self.ready()
        assert answer.wait(150); self.done()
    def h2_slow(self, seconds):
        self.h2_plain(f"/slow/{seconds}")
    def h2_slow_pinging(self, seconds):
        # As clients with a keep-alive of their own do; the request began before anybody looked.
        self.h2_open(); self.h2_get("/fast")
        slow = self.h2_ask(f"/slow/{seconds}")
        time.sleep(1.5); self.ready()
        while not slow.wait(0.9):
            self.send(self.frame(6, 0, 0, b"12345678"))
        self.done()
    def h2_upload(self, size, seconds):
        # The server answers the body with window updates, and works then.
        self.h2_open(); self.h2_get("/fast")
        answer = self.h2_ask(f"/upload/{seconds}", "POST")
        for left in range(size, 0, -15000):
            self.send(self.frame(0, 1 if left <= 15000 else 0, self.stream, b"x" * min(left, 15000))); time.sleep(0.05)
        self.ready()
        assert answer.wait(150); self.done()
    def h2_stream(self, messages, pause):
        # Messages both ways on one stream, as in gRPC.
        self.h2_open()
        answer = self.h2_ask("/echo", "POST")
        for n in range(messages):
            if n == 1: self.ready()
            self.send(self.frame(0, 0, self.stream, b"\0\0\0\0\x14" + b"m" * 20)); time.sleep(pause)
        self.send(self.frame(0, 1, self.stream, b""))
        assert answer.wait(150); self.done()
    def h2_multiplexed(self, seconds):
        self.h2_open(); self.h2_get("/fast")
        slow = self.h2_ask(f"/slow/{seconds}")
        time.sleep(0.3); self.ready()
        for _ in range(20):
            self.h2_get("/fast"); time.sleep(0.1)
        assert slow.wait(150); self.done()

PLAYS = {
    "websocket": Play.websocket, "upload": Play.upload, "pipelined": Play.pipelined, "kept": Play.kept,
    "kept-fast": Play.kept_fast, "second": Play.second, "backlog": Play.backlog, "h2-slow-pinging": Play.h2_slow_pinging,
    "h2-get": Play.h2_plain, "h2-upload": Play.h2_upload, "h2-stream": Play.h2_stream, "h2-slow": Play.h2_slow, "h2-multiplexed": Play.h2_multiplexed, "get": Play.plain, "kept-get": Play.on_a_kept_connection,
    "expects": Play.expects, "half-closed": Play.half_closed, "leaked": Play.leaked, "health": Play.health, "silent": Play.silent,
    "h2-idle": Play.h2_idle, "h2-pinging": Play.h2_pinging, "kept-busy-before": Play.kept_busy_before,
    "kept-until-closed": Play.kept_until_closed, "reads-slowly": Play.reads_slowly, "h2-returning": Play.h2_returning,
    "asks-for": Play.asks_for, "asks-until-closed": Play.asks_until_closed,
}

def play(state, port, tls):
    name, *args = state.split(":")
    args = [a if a.startswith("/") or a.isalpha() else float(a) if "." in a else int(a) for a in args]
    p = Play(state, port, tls)
    try:
        PLAYS[name](p, *args)
        p.keep()
    except Exception as error:
        say("lost", state, port, repr(error).replace(" ", "_"))

for line in sys.stdin:
    state, port, tls = line.split()
    threading.Thread(target=play, args=(state, int(port), tls), daemon=True).start()
