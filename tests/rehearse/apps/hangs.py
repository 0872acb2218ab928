# Stops serving in an orderly way, then never exits.
import threading

from server import Server


class Hangs(Server):
    def on_leave(self):
        threading.Event().wait()


Hangs().run()
