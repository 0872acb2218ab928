# Keeps a connection to its database ($DATABASE, a port on 127.0.0.1) and ends without closing it: SIGTERM kills it as it
# kills any process without a handler.
import os
import socket

from server import Server

database = socket.create_connection(("127.0.0.1", int(os.environ["DATABASE"])))
server = Server()
server.accept()
