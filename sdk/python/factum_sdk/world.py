"""The world that a module sees: the time and the randomness of its decision, and its log."""

import datetime
import os
import random
import sys
import time

from componentize_py_types import Err
from wit_world.imports import log

_context = None


def context():
    """The context of the decision; outside of one there is none."""
    if _context is None:
        raise RuntimeError(
            "time and randomness are known only while a command is decided; put them into the event"
        )
    return _context


def calling(ctx, call, explain):
    """Runs a call of the engine. What it raises leaves as `explain` says it."""
    global _context, _random
    _context = ctx
    _random = _Random(ctx.seed) if ctx is not None else None
    try:
        return call()
    except BaseException as error:
        failure = explain(error)
    finally:
        _context = _random = None
        sys.stdout.flush()
        sys.stderr.flush()
    raise Err(failure)


def folding(call):
    """Folds an event, which must come to the same at any time."""
    global _context, _random
    kept = _context, _random
    _context = _random = None
    try:
        call()
    finally:
        _context, _random = kept


class _Lines:
    """A standard stream whose lines become lines of the guest's log."""

    encoding, errors = "utf-8", "replace"

    def __init__(self, level):
        self.level, self.rest = level, ""

    def write(self, text):
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            log.log(self.level, line)
        return len(text)

    def flush(self):
        if self.rest:
            log.log(self.level, self.rest)
            self.rest = ""

    def isatty(self):
        return False


sys.stdout, sys.stderr = _Lines(log.Level.INFO), _Lines(log.Level.ERROR)

time.time = lambda: context().now_ms / 1_000
time.time_ns = lambda: context().now_ms * 1_000_000
time.monotonic = time.perf_counter = time.time
time.monotonic_ns = time.perf_counter_ns = time.time_ns
# While a command is decided, no time passes.
time.sleep = lambda seconds: None


class _Datetime(datetime.datetime):
    """The same, but that it asks the clock above."""

    @classmethod
    def now(cls, tz=None):
        now = cls.fromtimestamp(time.time(), datetime.timezone.utc)
        return now.astimezone(tz) if tz is not None else now.replace(tzinfo=None)

    utcnow = today = now


datetime.datetime = _Datetime

_Random = random.Random
_random = None


def _drawn(name):
    def draw(*arguments, **named):
        context()
        return getattr(_random, name)(*arguments, **named)

    return draw


for _name in ("random", "randint", "randrange", "choice", "choices", "sample", "shuffle", "uniform",
              "getrandbits", "gauss", "randbytes"):
    setattr(random, _name, _drawn(_name))
os.urandom = random._urandom = _drawn("randbytes")
