# Stops in good order and then says that it failed.
import os

from server import Server


class Unclean(Server):
    def on_leave(self):
        os._exit(1)


Unclean().run()
