"""Events made by the official SDK, sent in its modes, read back and parsed by it again."""

import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings.http import HTTPMessage, from_structured, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

BASE = sys.argv[1]
FORMAT = JSONFormat()
BATCH = "application/cloudevents-batch+json"


def call(path, headers, body=None):
    request = urllib.request.Request(BASE + path, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.headers.get("content-type"), answer.read()


def event(id, data, **more):
    attributes = {
        "id": id,
        "source": "https://example.com/größe",
        "type": "com.example.sold ü",
        "specversion": "1.0",
        "time": datetime(2024, 2, 29, 12, 30, 1, 250000, tzinfo=timezone.utc),
        "subject": "till-1",
        "myextension": 'a "quoted" €, 100%',
    }
    return CloudEvent(attributes=attributes | more, data=data)


JSON = {"datacontenttype": "application/json"}
binary = [
    event("b1", {"n": 1, "text": "größer"}, **JSON),
    event("b2", b"\x00\xff\x01", datacontenttype="image/png"),
    event("b3", "plain text ü", datacontenttype="text/plain"),
    event("b4", None),
]
structured = [
    event("s1", {"n": [1, 2.5, None], "deep": {"a": "€"}}, **JSON),
    event("s2", b"\x00\xff\x01", datacontenttype="image/png"),
    event("s3", "plain text ü", datacontenttype="text/plain"),
    event("s4", None),
    event("s5", {"n": 1}),
]
batch = [event(f"t{n}", {"n": n}, **JSON) for n in range(5)]

for one in binary:
    message = to_binary(one, FORMAT)
    call("/v1/events", message.headers, message.body or b"")
for one in structured:
    message = to_structured(one, FORMAT)
    call("/v1/events", message.headers, message.body)
body = b"[" + b",".join(to_structured(one, FORMAT).body for one in batch) + b"]"
call("/v1/events", {"content-type": BATCH}, body)

sent = binary + structured + batch
content_type, answered = call("/v1/events?limit=1000", {"accept": BATCH})
assert content_type == BATCH, content_type
texts = [json.dumps(one).encode() for one in json.loads(answered)]
assert len(texts) == len(sent), answered


def data_of(one, was_text):
    data = one.get_data()
    return data.decode() if was_text and isinstance(data, bytes) else data


for position, (was, text) in enumerate(zip(sent, texts), start=1):
    content_type, alone = call(f"/v1/events/{position}", {"accept": "application/cloudevents+json"})
    assert content_type == "application/cloudevents+json", content_type
    for body in (text, alone):
        now = from_structured(HTTPMessage({"content-type": content_type}, body), FORMAT)
        attributes = now.get_attributes()
        for name, value in was.get_attributes().items():
            assert attributes[name] == value, (position, name, attributes.get(name), value)
        assert data_of(now, isinstance(was.get_data(), str)) == was.get_data(), (position, body)
        assert now.get_extension("globalposition") == position

# A second time nothing is recorded.
for one in structured:
    message = to_structured(one, FORMAT)
    call("/v1/events", message.headers, message.body)
_, answered = call("/v1/events?limit=1000", {"accept": BATCH})
assert len(json.loads(answered)) == len(sent)
print(f"{len(sent)} events came back as they were")
