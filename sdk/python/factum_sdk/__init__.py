"""Write a Factum module in Python: plain classes and pure functions, nothing of the contract.

    class Door(Aggregate):
        name = "door"

        def __init__(self):
            self.open = False

        @command
        def unlock(self, by: str):
            return reject("open", "it is open") if self.open else emit("Opened", by=by)

        @event
        def Opened(self, by):
            self.open = True

    Manifest, Aggregate = module("doors", "1.0.0", [Door])

The state is the instance's attributes, in the order in which `__init__` sets them. Whatever a module
raises becomes a fault with its message, what it prints a line of its log. Time and randomness are
those of the decision: `time`, `datetime.now()`, `random` and `uuid` work inside a command, where
they answer what is recorded with it, and raise anywhere else; import `factum_sdk` before `datetime`.
"""

import inspect
import json

from componentize_py_types import Err
from wit_world.exports.aggregate import Outcome
from wit_world.imports import types

from . import world

__all__ = ["Aggregate", "command", "context", "emit", "event", "module", "reject"]


class Rejection(Exception):
    """A command is refused: the code is for programs, the message for people."""

    def __init__(self, code, message, **details):
        super().__init__(message)
        self.code, self.details = code, details


class Invalid(Exception):
    """The command's data does not fit the command."""


class Unknown(Exception):
    """There is no such command."""


class Aggregate:
    """A consistency boundary. `__init__` makes the state before the first event."""

    name = ""
    state_version = 1


def command(function):
    """Marks a method that answers a command with `emit` or `reject`. Its parameters are the fields
    of the command's data, each checked against its annotation: `str`, `bool`, or `int` from 0 to
    4294967295."""
    function.factum_role = "command"
    return function


def event(function):
    """Marks a method that takes in what happened. Its parameters are the fields of the event."""
    function.factum_role = "event"
    return function


def emit(event_type, **data):
    """Accepts a command: it has happened."""
    return [(event_type, data)]


def reject(code, message, **details):
    """Refuses a command."""
    raise Rejection(code, message, **details)


def context():
    """Everything a decision may know besides its state and its command."""
    return world.context()


def module(name, version, aggregates):
    """What a module exports: `Manifest, Aggregate = module(…)`."""
    by_name = {aggregate.name: aggregate for aggregate in aggregates}

    def find(aggregate):
        if aggregate not in by_name:
            raise LookupError(f"the module has no aggregate {aggregate}")
        return by_name[aggregate]

    class Manifest:
        def describe(self):
            return _json(
                {
                    "name": name,
                    "version": version,
                    "contract": "0.1.0",
                    "sdk": "factum-sdk-python 0.1.0",
                    "aggregates": [_described(aggregate) for aggregate in aggregates],
                }
            )

    class AggregateRole:
        def decide(self, aggregate, current, tail, command, ctx):
            def call():
                return _decide(find(aggregate), current, tail, command)

            return world.calling(ctx, call, _failure)

        def evolve(self, aggregate, current, events):
            def call():
                return _state(_folded(find(aggregate), current, events))

            return world.calling(None, call, _message)

        def inspect(self, aggregate, current):
            return current.value

        def boundary(self, aggregate, command, ctx):
            said = f"`{aggregate}` has no boundary for `{command.name}`"
            raise Err(types.Failure_Unknown(said))

    return Manifest, AggregateRole


def _decide(aggregate, current, tail, command):
    state = _folded(aggregate, current, tail)
    decide = _roles(aggregate, "command").get(command.name)
    if decide is None:
        known = ", ".join(_roles(aggregate, "command"))
        said = f"`{aggregate.name}` has no command `{command.name}`; it has: {known}"
        raise Unknown(said)
    new = []
    fields = _fields(decide, json.loads(command.data or "{}") or {})
    for event_type, data in decide(state, **fields):
        text = _json(data)
        new.append(types.NewEvent(event_type, 1, text, []))
        _apply(aggregate, state, event_type, json.loads(text))
    return Outcome(new, _state(state))


def _fields(decide, data):
    """The fields that the command takes, checked; others are of no interest."""
    if not isinstance(data, dict):
        raise Invalid("the data is no object")
    parameters = list(inspect.signature(decide).parameters.values())[1:]
    return {parameter.name: _checked(parameter, data) for parameter in parameters}


def _checked(parameter, data):
    value = data.get(parameter.name)
    if parameter.annotation is str and not isinstance(value, str):
        raise Invalid(f"the field {parameter.name} is not a text")
    if parameter.annotation is bool and not isinstance(value, bool):
        raise Invalid(f"the field {parameter.name} is not true or false")
    if parameter.annotation is int and not (type(value) is int and 0 <= value <= 0xFFFFFFFF):
        said = f"the field {parameter.name} is not a whole number from 0 to 4294967295"
        raise Invalid(said)
    return value


def _folded(aggregate, current, events):
    state = aggregate()
    if current is not None:
        state.__dict__.update(json.loads(current.value))
    for recorded in events:
        _apply(aggregate, state, recorded.event_type, json.loads(recorded.data))
    return state


def _apply(aggregate, state, event_type, data):
    evolve = _roles(aggregate, "event").get(event_type)
    if evolve is None:
        raise LookupError(f"the event `{event_type}` is not known")
    world.folding(lambda: evolve(state, **data))


def _roles(aggregate, role):
    """The marked methods, in the order in which they are written."""
    marked = vars(aggregate).items()
    return {name: f for name, f in marked if getattr(f, "factum_role", None) == role}


def _described(aggregate):
    return {
        "name": aggregate.name,
        "state_version": aggregate.state_version,
        "commands": [{"name": name} for name in _roles(aggregate, "command")],
        "events": [{"type": name, "schema_version": 1} for name in _roles(aggregate, "event")],
    }


def _state(state):
    return types.State_Json(_json(state.__dict__))


def _json(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _failure(error):
    """What was raised, as the contract says it."""
    if isinstance(error, Rejection):
        details = _json(error.details) if error.details else None
        return types.Failure_Rejected(types.Rejection(error.code, str(error), details))
    if isinstance(error, Invalid):
        return types.Failure_Invalid(str(error))
    if isinstance(error, Unknown):
        return types.Failure_Unknown(str(error))
    return types.Failure_Fault(_message(error))


def _message(error):
    return f"{type(error).__name__}: {error}"
