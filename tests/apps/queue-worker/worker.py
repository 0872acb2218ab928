# A worker on a Redis list without a signal handler: moves a job to QUEUE:working, works on it, counts it in QUEUE:done.
# What stands in QUEUE:working when the worker dies is a job lost half-way, as with most homegrown workers: nobody looks there.
# A job is a number: the seconds of work. REDIS_URL says where Redis is, QUEUE names the list (default jobs). While the key
# QUEUE:paused exists no new job is taken, so that a hook can turn the tap off at a stop.
import os
import time

import redis

queue = os.environ.get("QUEUE", "jobs")
store = redis.Redis.from_url(os.environ["REDIS_URL"])
print("ready", flush=True)
while True:
    if store.exists(queue + ":paused"):
        time.sleep(0.1)
        continue
    job = store.blmove(queue, queue + ":working", timeout=1, src="LEFT", dest="RIGHT")
    if job is None:
        continue
    time.sleep(float(job))
    with store.pipeline() as both:
        both.lrem(queue + ":working", 1, job)
        both.incr(queue + ":done")
        both.execute()
