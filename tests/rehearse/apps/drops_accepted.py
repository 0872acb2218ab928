# Goes on accepting while it stops, and drops what it has accepted.
from server import Server


class Drops(Server):
    def on_accept(self, connection):
        if self.stopping:
            connection.close()
            return False
        return True


Drops().run()
