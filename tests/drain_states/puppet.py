# A server that does exactly what it is told, one command a line, and says when it is done.
import http.server, os, socket, sys, threading

listeners, conns = [], []

def say(*words):
    print(*words, flush=True)

def listen(family, addr, *, dual=False, reuse=False, backlog=64):
    s = socket.socket(family)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
    if reuse:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(addr)
    s.listen(backlog)
    listeners.append(s)
    say(s.getsockname()[1] if family != socket.AF_UNIX else 0)

def answer_all(listener, hold_every):
    """One thread a connection: answers each line at once, but the hold_every-th only when told to let go."""
    def serve(c):
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        n = 0
        for line in c.makefile("rb"):
            n += 1
            if hold_every and n % hold_every == 0:
                held.acquire()
            c.sendall(line)
        c.close()
    def accept():
        while True:
            c, _ = listener.accept()
            threading.Thread(target=serve, args=(c,), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()

held = threading.Semaphore(0)

class Http(http.server.BaseHTTPRequestHandler):
    """Answers at once; /hold only when told to let go."""
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/hold":
            held.acquire()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *_):
        pass

def serve_http():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Http)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    say(server.server_address[1])

def do(cmd, a):
    if cmd == "listen4":
        listen(socket.AF_INET, ("127.0.0.1", 0))
    elif cmd == "listen6":
        listen(socket.AF_INET6, ("::1", 0))
    elif cmd == "dual":
        listen(socket.AF_INET6, ("::", 0), dual=True)
    elif cmd == "reuse":
        listen(socket.AF_INET, ("127.0.0.1", int(a[0])), reuse=True)
    elif cmd == "unix":
        listen(socket.AF_UNIX, a[0])
    elif cmd == "unlisten":
        listeners.pop(int(a[0])).close(); say("ok")
    elif cmd == "accept":
        conns.append(listeners[int(a[0])].accept()[0])
        conns[-1].setblocking(True)
        say("ok")
    elif cmd == "read":
        say(len(conns[int(a[0])].recv(1 << 20)))
    elif cmd == "send":
        conns[int(a[0])].sendall(a[1].encode()); say("ok")
    elif cmd == "flood":
        c = conns[int(a[0])]
        c.setblocking(False)
        sent = 0
        try:
            while True:
                sent += c.send(b"x" * 65536)
        except BlockingIOError:
            pass
        c.setblocking(True)
        say(sent)
    elif cmd == "close":
        conns[int(a[0])].close(); say("ok")
    elif cmd == "connect":
        conns.append(socket.create_connection(("127.0.0.1", int(a[0])))); say("ok")
    elif cmd == "unix-connect":
        c = socket.socket(socket.AF_UNIX); c.connect(a[0]); conns.append(c); say("ok")
    elif cmd == "serve":
        answer_all(listeners[int(a[0])], int(a[1])); say("ok")
    elif cmd == "http":
        serve_http()
    elif cmd == "release":
        [held.release() for _ in range(int(a[0]))]; say("ok")
    elif cmd == "hand-over":
        # From now on a child of ours does what we are told, and only it holds the sockets.
        if os.fork():
            [s.close() for s in listeners + conns]
            os.wait()
            os._exit(0)
        say("ok")
    elif cmd == "share":
        # A worker beside us that holds the same listeners, as pre-forking servers have; it ends with us.
        ours, theirs = os.pipe()
        if os.fork() == 0:
            os.close(theirs)
            os.read(ours, 1)
            os._exit(0)
        say("ok")
    elif cmd == "user":
        os.setgroups([]); os.setgid(int(a[0])); os.setuid(int(a[0])); say("ok")
    else:
        say("what?", cmd)

say("ready")
for line in sys.stdin:
    cmd, *a = line.split()
    do(cmd, a)
os._exit(0)
