# Stops in an orderly way, then exits with the status of a failure.
import os

from server import Server


class Unclean(Server):
    def on_leave(self):
        os._exit(1)


Unclean().run()
