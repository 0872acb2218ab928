# A threaded HTTP/1.1 server on the standard library; one port for each kind of TLS that it is told on stdin, said on stdout.
import base64, hashlib, http.server, socket, ssl, sys, threading, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, body=b"ok"):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data)); self.wfile.flush()
    def start(self):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers(); self.wfile.flush()
    def do_GET(self):
        _, kind, *args = self.path.split("/")
        args = [float(a) for a in args]
        if kind == "fast":
            self.answer()
        elif kind == "size":
            self.answer(b"x" * int(args[0]))
        elif kind == "slow":
            time.sleep(args[0]); self.answer()
        elif kind == "headers":
            self.start(); time.sleep(args[0]); self.chunk(b"all of it"); self.chunk(b"")
        elif kind == "part":
            self.start(); self.chunk(b"x" * 3000); time.sleep(args[0]); self.chunk(b"the rest"); self.chunk(b"")
        elif kind == "events":
            self.start()
            for n in range(int(args[1])):
                self.chunk(b"data: something\n\n"); time.sleep(args[0])
            self.chunk(b"")
        elif kind == "hints":
            self.send_response_only(103); self.send_header("Link", "</style.css>; rel=preload"); self.end_headers()
            self.wfile.flush(); time.sleep(args[0]); self.answer()
        elif kind == "leak":
            self.answer(); time.sleep(600)
        elif kind == "ws":
            key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
            self.send_response(101)
            self.send_header("Upgrade", "websocket"); self.send_header("Connection", "Upgrade")
            self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
            self.end_headers(); self.wfile.flush()
            while frame := self.rfile.read(10):
                if frame[0] == 0x89: self.wfile.write(b"\x8a\x04" + frame[6:]); self.wfile.flush()
            self.close_connection = True
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(float(self.path.split("/")[2])); self.answer()
    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    context = None
    def finish_request(self, request, address):
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.context:
            request = self.context.wrap_socket(request, server_side=True)
        super().finish_request(request, address)
    def handle_error(self, *_):
        pass

certificate = sys.argv[1]
for line in sys.stdin:
    tls = line.strip()
    server = (http.server.HTTPServer if tls == "single" else Server)(("127.0.0.1", 0), Handler)
    if tls not in ("plain", "single"):
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(certificate)
        if tls == "tls12": server.context.maximum_version = ssl.TLSVersion.TLSv1_2
        if tls == "no-tickets": server.context.num_tickets = 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
