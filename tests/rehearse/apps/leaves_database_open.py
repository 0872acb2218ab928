# Keeps a connection to its database ($DATABASE, a port on 127.0.0.1) and leaves without closing it: SIGTERM ends it as it
# ends any process that does not care.
import os
import socket

from server import Server

database = socket.create_connection(("127.0.0.1", int(os.environ["DATABASE"])))
server = Server()
server.accept()
