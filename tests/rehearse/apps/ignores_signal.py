# Ignores SIGTERM and has to be killed.
import signal

from server import Server

server = Server()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
server.accept()
