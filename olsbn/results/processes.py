"""A function called many times on other processes, for work that holds Python's global lock.

The workers are fresh interpreters that are told what to call through pipes. So, unlike with `multiprocessing`, a script
needs no ``if __name__ == "__main__"``, no state of this process is copied, and a signal of the terminal reaches this
process alone, which ends the workers.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from olsbn._validate import as_count
from olsbn.sweeps.pool import processors


def on_processes(
    function: str, common: Any, tasks: Sequence[Any], workers: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Call a function on every task and yield ``(number, result)`` as they are done, in no fixed order.

    Parameters
    ----------
    function : str
        ``"module:name"``; called as ``name(common, task)``.
    common : Any
        What all calls share; sent to each worker once.
    tasks : sequence
        Arguments.
    workers : int, optional
        How many processes; with one the calls are made in this process. Default: all processors.

    Raises
    ------
    Exception
        What a call raises; RuntimeError where a worker ends by itself.
    """
    workers = min(processors() if workers is None else as_count("workers", workers, minimum=1), len(tasks))
    if workers <= 1:
        call = _named(function)
        for number, task in enumerate(tasks):
            yield number, call(common, task)
        return
    waiting: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    for numbered in enumerate(tasks):
        waiting.put(numbered)
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(workers):
            started.append(_start())
            args = started[-1], (function, common), waiting, done
            threading.Thread(target=_feed, args=args, daemon=True).start()
        for _ in tasks:
            while True:
                try:
                    number, result, error = done.get(timeout=0.2)  # the timeout lets this thread see signals
                    break
                except queue.Empty:
                    continue
            if error is not None:
                raise error
            yield number, result
    finally:
        for worker in started:
            worker.kill()
        for worker in started:
            worker.wait()


def _start() -> subprocess.Popen[bytes]:
    env = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
    command = [sys.executable, "-c", f"from {__name__} import serve; serve()"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, start_new_session=True)


def _feed(worker: subprocess.Popen[bytes], first: Any, waiting: Any, done: Any) -> None:
    """Give a worker one task after the other."""
    assert worker.stdin is not None and worker.stdout is not None
    number = -1
    try:
        with worker.stdin as to, worker.stdout as back:
            pickle.dump(first, to)
            while True:
                try:
                    number, task = waiting.get_nowait()
                except queue.Empty:
                    return
                pickle.dump(task, to)
                to.flush()
                result, error = pickle.load(back)
                done.put((number, result, error))
    except (OSError, EOFError, pickle.UnpicklingError, ValueError):
        done.put((number, None, RuntimeError("a worker process ended by itself (out of memory?)")))
    except Exception as err:  # what cannot be sent
        done.put((number, None, err))


def serve() -> None:
    """Be a worker: do what standard input says until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    to, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing else may get into the pipe
    try:
        function, common = pickle.load(sys.stdin.buffer)
        call = _named(function)
        while True:
            task = pickle.load(sys.stdin.buffer)
            answer: tuple[Any, BaseException | None]
            try:
                answer = call(common, task), None
            except Exception as err:
                answer = None, err
            pickle.dump(answer, to)
            to.flush()
    except (EOFError, BrokenPipeError):
        os._exit(0)


def _named(function: str) -> Any:
    module, name = function.split(":")
    return getattr(import_module(module), name)
