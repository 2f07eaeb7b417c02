"""A service in a process of its own."""
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx


@contextmanager
def running(bundle, *options, token=""):
    "A served bundle: the process and its address; killed at the end if it still runs."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "semantic_nb", "serve", str(bundle), "--port", str(port), *options]
    process = subprocess.Popen(command,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               env={**os.environ, "SEARCH_TOKEN": token})
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError(process.stderr.read())
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield process, address
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
