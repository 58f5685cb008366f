"""What a module sees of the world, for the tests of the SDK. Outside of tests it has no use."""

import random
import time
import uuid
from datetime import timezone

import factum_sdk
from factum_sdk import command, context, emit, event
from datetime import datetime


class Clockwork(factum_sdk.Aggregate):
    name = "clockwork"

    def __init__(self):
        self.seen = 0

    @command
    def look(self):
        now_ms = time.time_ns() // 1_000_000
        drawn = [str(random.random()), str(uuid.uuid4())]
        print("seen at", datetime.now(timezone.utc).isoformat(), drawn)
        return emit("Looked", now_ms=now_ms, context_ms=context().now_ms, random=drawn)

    @command
    def fail(self):
        raise IndexError("out of order")

    @command
    def recall(self):
        return emit("Recalled")

    @event
    def Looked(self, now_ms, context_ms, random):
        self.seen += 1

    @event
    def Recalled(self):
        self.seen = time.time()


Manifest, Aggregate = factum_sdk.module("clockwork", "1.0.0", [Clockwork])
