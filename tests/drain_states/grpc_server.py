# A gRPC server of grpcio, with messages of plain bytes; one port for each line on stdin, said on stdout.
import concurrent.futures, grpc, sys, time

def wait(request, _):
    time.sleep(float(request)); return b"done"

def stream(request, _):
    count, pause, size = request.split()
    for _ in range(int(count)):
        time.sleep(float(pause)); yield b"m" * int(size)

def echo(requests, _):
    yield from requests

HANDLERS = grpc.method_handlers_generic_handler("adieu", {
    "wait": grpc.unary_unary_rpc_method_handler(wait),
    "stream": grpc.unary_stream_rpc_method_handler(stream),
    "echo": grpc.stream_stream_rpc_method_handler(echo),
})
servers = []
for line in sys.stdin:
    servers.append(grpc.server(concurrent.futures.ThreadPoolExecutor(8), handlers=[HANDLERS]))
    port = servers[-1].add_insecure_port("127.0.0.1:0")
    servers[-1].start()
    print(port, flush=True)
