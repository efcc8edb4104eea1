"""Processes that share work: spawned, since whoever calls may have threads, and gone as soon as somebody presses Ctrl-C."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children, get_context


@contextmanager
def workers(most: int | None = None, fresh: bool = False) -> Iterator[ProcessPoolExecutor]:
    """A pool of at most `most` processes, one for each core; with `fresh`, each job has one of its own.

    When the block is left by an exception, what is being done is ended, and what has not begun is not begun any more.
    """
    cores = os.cpu_count() or 1
    count = cores if most is None else min(cores, most)
    before = set(active_children())
    with ProcessPoolExecutor(
        count, get_context("spawn"), _start, (fresh,), max_tasks_per_child=1 if fresh else None
    ) as pool:
        try:
            yield pool
        except BaseException:
            for process in set(active_children()) - before:
                process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def _start(fresh: bool) -> None:
    """Ctrl-C ends a worker at once and without a word; one that does a single job need not collect its garbage."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if fresh:
        gc.disable()
