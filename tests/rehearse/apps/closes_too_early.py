# Closes its listener the moment it is told to stop, when no balancer can know of it yet; what is in flight is finished.
import time

from server import Server


class TooEarly(Server):
    def on_stop(self):
        self.close_listener()

    def drain(self):
        while self.busy:
            time.sleep(0.01)


TooEarly().run()
