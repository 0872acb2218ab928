# Very many connections. `server WORKERS`: so many processes, each with a port and an event loop of its own; says the ports, and
# when USR1 comes. `client`: for `idle PORT COUNT` on stdin that many connections that were answered once, from several
# addresses, and `ok`; for `brief PORT COUNT` as many that end after
# two seconds; for `busy PORT COUNT SECONDS` that many requests, `ok`, and `answered` once all of them are.
import heapq, os, resource, select, signal, socket, sys, threading, time

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

def work(listener):
    loop, clients, due = select.epoll(), {}, []
    loop.register(listener, select.EPOLLIN)
    while True:
        wait = max(0, due[0][0] - time.monotonic()) if due else -1
        for fd, _ in loop.poll(wait):
            if fd == listener.fileno():
                c, _ = listener.accept()
                clients[c.fileno()] = c
                loop.register(c, select.EPOLLIN)
                continue
            c = clients[fd]
            data = c.recv(4096)
            if not data:
                loop.unregister(c); del clients[fd]; c.close()
            elif data.startswith(b"GET /slow/"):
                heapq.heappush(due, (time.monotonic() + float(data.split(b" ")[1].split(b"/")[2]), fd))
            else:
                c.sendall(ANSWER)
        while due and due[0][0] <= time.monotonic():
            clients[heapq.heappop(due)[1]].sendall(ANSWER)

def serve(workers):
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=4096) for _ in range(workers)]
    for listener in listeners:
        if os.fork() == 0:
            work(listener)
    print("ports", *[l.getsockname()[1] for l in listeners], flush=True)
    while True:
        signal.sigwait([signal.SIGUSR1])
        print("usr1", time.monotonic_ns(), flush=True)

def ask(n, port, path):
    s = socket.socket()
    s.bind((f"127.0.0.{2 + n % 8}", 0))
    s.connect(("127.0.0.1", port))
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: one of very many\r\n\r\n".encode())
    return s

def hear(s):
    answer = b""
    while len(answer) < len(ANSWER):
        data = s.recv(4096)
        assert data, "cut off"
        answer += data

kept = []

def wait_for(busy):
    [hear(s) for s in busy]
    print("answered", flush=True)

def play():
    for line in sys.stdin:
        kind, port, count, *seconds = line.split()
        if kind == "idle":
            for n in range(int(count)):
                kept.append(ask(n, int(port), "/fast"))
                hear(kept[-1])
        elif kind == "brief":
            brief = [ask(n, int(port), "/slow/0") for n in range(int(count))]
            [hear(s) for s in brief]
            threading.Timer(2, lambda brief=brief: [s.close() for s in brief]).start()
        else:
            busy = [ask(n, int(port), f"/slow/{seconds[0]}") for n in range(int(count))]
            kept.extend(busy)
            threading.Thread(target=wait_for, args=(busy,), daemon=True).start()
        print("ok", flush=True)

serve(int(sys.argv[2])) if sys.argv[1] == "server" else play()
