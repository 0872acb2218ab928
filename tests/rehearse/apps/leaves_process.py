# Starts a helper that ignores SIGTERM in a session of its own, and leaves it behind.
import subprocess

from server import Server

subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], start_new_session=True)
Server().run()
