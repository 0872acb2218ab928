# Cuts off the slow requests that are in flight at the stop, and serves those that come later.
import socket

from server import Server


class Cuts(Server):
    def on_stop(self):
        with self.lock:
            slow = [connection for connection, path in self.busy.items() if path.startswith("/slow")]
        for connection in slow:
            connection.shutdown(socket.SHUT_RDWR)


Cuts().run()
