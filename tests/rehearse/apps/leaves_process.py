# Starts a helper in its own session that ignores SIGTERM, and leaves it behind.
import subprocess

from server import Server

subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], start_new_session=True)
Server().run()
