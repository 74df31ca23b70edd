"""How often and how soon a call that found nobody there is made again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import grpc

from lodeway.errors import LodewayError, call

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """Waits that grow from `first` to `longest` seconds until `total` seconds have passed since the first failure."""

    total: float = 30.0
    first: float = 0.05
    longest: float = 2.0

    def attempts(self) -> Attempts:
        """The waits of one operation."""
        return Attempts(self)


class Attempts:
    """The waits of one operation that fails again and again."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._wait = retry.first
        self._end: float | None = None

    def reset(self) -> None:
        """There was progress: the next failure counts as the first."""
        self._wait = self._retry.first
        self._end = None

    def pause(self, error: LodewayError) -> None:
        """Waits before the next attempt. Errors: `error` itself, if it does not pass by waiting or time is up."""
        now = time.monotonic()
        if self._end is None:
            self._end = now + self._retry.total
        if not passes(error) or now >= self._end:
            raise error
        # A random part keeps clients that failed together from coming back together.
        wait = max(self._wait * random.uniform(0.5, 1.0), error.retry_after or 0.0)
        time.sleep(min(wait, max(self._end - now, 0.0)))
        self._wait = min(self._wait * 2, self._retry.longest)


def passes(error: LodewayError) -> bool:
    """True if waiting may help: nobody is there, or the connection broke before the platform could answer."""
    broken = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED)
    return error.code is grpc.StatusCode.UNAVAILABLE or (error.code in broken and not error.reason and not error.local)


def retried(retry: Retry, method: Callable[[], T]) -> T:
    """The answer of a call that is made again while nobody is there; only for calls that may be repeated."""
    attempts = retry.attempts()
    while True:
        try:
            return call(method)
        except LodewayError as error:
            attempts.pause(error)
