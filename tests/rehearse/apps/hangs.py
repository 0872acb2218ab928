# Stops serving in good order and then never leaves.
import threading

from server import Server


class Hangs(Server):
    def on_leave(self):
        threading.Event().wait()


Hangs().run()
