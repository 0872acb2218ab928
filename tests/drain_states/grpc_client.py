# Brings a channel of grpcio into each state that it is told as `STATE PORT TLS`, and says when, as client.py does.
import concurrent.futures, grpc, sys, threading, time

lock = threading.Lock()

class Play:
    def __init__(self, state, port):
        self.state, self.port = state, port
        # Channels to one place would share a connection.
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)])
        self.wait = self.channel.unary_unary("/adieu/wait")
        self.stream = self.channel.unary_stream("/adieu/stream")
        self.echo = self.channel.stream_stream("/adieu/echo")
        self.calls = concurrent.futures.ThreadPoolExecutor(2)
    def say(self, *words):
        with lock:
            print(words[0], self.state, self.port, *words[1:], flush=True)
    def unary(self, seconds):
        self.wait(b"0")
        answer = self.wait.future(b"%g" % seconds)
        time.sleep(0.3); self.say("ready")
        assert answer.result(150) == b"done"
        self.say("done")
    def server_stream(self, count, pause, size=20):
        self.wait(b"0")
        messages = self.stream(b"%d %g %d" % (count, pause, size))
        time.sleep(0.3); self.say("ready")
        assert len(list(messages)) == count
        self.say("done")
    def both_ways(self, count, pause):
        def messages():
            for n in range(count):
                if n == 1: self.say("ready")
                time.sleep(pause); yield b"m" * 20
        assert len(list(self.echo(messages()))) == count
        self.say("done")
    def beside(self, seconds):
        # One slow call, with a stream and quick calls on the same connection.
        self.wait(b"0")
        slow = self.wait.future(b"%g" % seconds)
        messages = self.calls.submit(lambda: len(list(self.stream(b"4 1 20"))))
        time.sleep(0.3); self.say("ready")
        for _ in range(15):
            self.wait(b"0"); time.sleep(0.2)
        assert messages.result(150) == 4 and slow.result(150) == b"done"
        self.say("done")
    def idle(self, calls):
        for _ in range(calls):
            self.wait(b"0"); time.sleep(0.05)
        self.say("done"); self.say("ready")

PLAYS = {"unary": Play.unary, "stream": Play.server_stream, "both-ways": Play.both_ways, "beside": Play.beside, "idle": Play.idle}

def play(state, port):
    name, *args = state.split(":")
    p = Play(state, port)
    try:
        PLAYS[name](p, *[float(a) if "." in a else int(a) for a in args])
        time.sleep(600)
    except Exception as error:
        p.say("lost", repr(error).replace(" ", "_").replace("\n", "_"))

for line in sys.stdin:
    state, port, _ = line.split()
    threading.Thread(target=play, args=(state, int(port)), daemon=True).start()
