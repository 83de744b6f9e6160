# Copyright (c) regionclip_mmdet authors. Licensed under the Apache License 2.0.
"""One computation at a time, first come first served, and nobody for long."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Waiting = Callable[[], None]


class Turns:
    """Lets threads compute in turns.

    A computation uses all cores, so two at a time would end no sooner. A ``threading.Lock`` would
    not do: whoever gives it back and takes it again mostly gets it again.

    Args:
        seconds: After so long a thread that can pause lets those who wait go first.
        clock: Seconds that have passed.
    """

    def __init__(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._taken = False
        self._began = 0.0
        self._queue: deque[threading.Semaphore] = deque()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._queue)

    @contextmanager
    def take(self, told: Waiting | None = None) -> Iterator[None]:
        """Have a turn while inside.

        Args:
            told: Called once if others are first.
        """
        self._acquire(told)
        try:
            yield
        finally:
            self._release()

    def offer(self, told: Waiting | None = None) -> None:
        """Within a turn: let those who wait go first if it has lasted long."""
        if self._queue and self._clock() - self._began >= self.seconds:
            if told is not None:
                told()
            self._release()
            self._acquire(None)

    def _acquire(self, told: Waiting | None) -> None:
        if told is not None and self._taken:
            told()  # may raise, so before anyone counts on this thread
        with self._lock:
            mine = threading.Semaphore(0) if self._taken else None
            self._taken = True
            if mine is not None:
                self._queue.append(mine)
        if mine is not None:
            mine.acquire()
        self._began = self._clock()

    def _release(self) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()  # handed on: it stays taken
            else:
                self._taken = False
