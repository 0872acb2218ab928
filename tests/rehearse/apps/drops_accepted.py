# Keeps accepting connections while it stops, and drops them.
from server import Server


class Drops(Server):
    def on_accept(self, connection):
        if self.stopping:
            connection.close()
            return False
        return True


Drops().run()
