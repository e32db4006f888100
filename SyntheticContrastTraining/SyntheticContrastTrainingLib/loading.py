"""Reads the data of the steps to come in the background, in order, so that the networks need not wait for the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """`read(step)` for one step after another, begun up to `ahead` steps early on a pool of threads.

    NumPy lets go of the interpreter lock while it copies, so threads are enough. What `read` raises, `next` raises.
    """

    def __init__(self, read: Callable[[int], T], first: int, last: int, pool: ThreadPoolExecutor, ahead: int) -> None:
        self._read, self._pool, self._ahead = read, pool, ahead
        self._steps = iter(range(first, last))
        self._queue: deque[Future[T]] = deque()

    def next(self) -> T:
        """What was read for the next step. Raises IndexError after the last one."""
        while len(self._queue) <= self._ahead and (step := next(self._steps, None)) is not None:
            self._queue.append(self._pool.submit(self._read, step))
        return self._queue.popleft().result()


@contextmanager
def read_ahead(read: Callable[[int], T], first: int, last: int, threads: int) -> Iterator[Ahead[T]]:
    """An `Ahead` over the steps `first` to `last` - 1; its threads end with the block."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="read-ahead")
    try:
        yield Ahead(read, first, last, pool, 2 * threads)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
