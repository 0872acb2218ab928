# Does nothing wrong, for comparison with the bad apps.
from server import Server

Server().run()
