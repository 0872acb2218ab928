# Closes its listener at the stop signal, when no balancer can know of the stop yet; requests in flight are finished.
import time

from server import Server


class TooEarly(Server):
    def on_stop(self):
        self.close_listener()

    def drain(self):
        while self.busy:
            time.sleep(0.01)


TooEarly().run()
