"""A server of S3 on the loopback address, as a process of its own, and what tells a process where it is."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent

SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
server.start()
sys.stdin.read()
"""


@contextlib.contextmanager
def server():
    """Run the server, with a bucket "bucket"; yield the variables of the environment that lead to it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], stdin=subprocess.PIPE)
    try:
        url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{url}/bucket", method="PUT"), timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < until and child.poll() is None, "the server did not start"
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "of-nobody", "AWS_SECRET_ACCESS_KEY": "of-nobody",
        }  # fmt: skip
    finally:
        child.stdin.close()
        child.wait(timeout=30)


@contextlib.contextmanager
def environment(variables):
    """Set variables of the environment for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


DYING = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import crash
from olsbn.sweeps import running
from olsbn.sweeps.store import cloud

left = int(sys.argv[2])

def dying(original):
    def request(self, *args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *args)
    return request

for name in ("write", "put_if", "remove"):
    setattr(cloud.Bucket, name, dying(getattr(cloud.Bucket, name)))
store, n_run = running.fill(crash.small_sweep(), sys.argv[1], progress=False, workers=2)
"""


def killed_at_request(url, k):
    """Fill a store in a process that is killed at its k-th request that writes; return if it was.

    The process is not a fork: threads of obstore do not survive one.
    """
    done = subprocess.run([sys.executable, "-c", DYING, url, str(k), str(HERE)], capture_output=True, text=True)
    assert done.returncode in (0, -signal.SIGKILL), done
    return done.returncode != 0


def killed_after(url, seconds):
    """Fill a store in a process that is killed after a time; return if it was."""
    child = subprocess.Popen([sys.executable, "-c", DYING, url, "1000000", str(HERE)])
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=seconds)
    child.kill()
    return child.wait() == -signal.SIGKILL


def finished(url):
    """Fill the rest of a store in a process of its own; return the digest and how many tiles were run."""
    code = DYING + "\nprint(running.digest(store.dataset()), n_run)"
    done = subprocess.run([sys.executable, "-c", code, url, "1000000", str(HERE)], capture_output=True, text=True)
    assert done.returncode == 0, done
    digest, n_run = done.stdout.split()
    return digest, int(n_run)
