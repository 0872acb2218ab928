# A plain loop without a server and without signal handlers: what most scripts in containers look like.
import time

count = 0
while True:
    count += 1
    print("tick", count, flush=True)
    time.sleep(0.2)
