# Does nothing wrong: the rule that the bad apps are exceptions from.
from server import Server

Server().run()
