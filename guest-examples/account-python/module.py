"""Hello world: a bank account, the same as guest-examples/account to the byte."""

import factum_sdk
from factum_sdk import command, emit, event, reject


class Account(factum_sdk.Aggregate):
    name = "account"

    def __init__(self):
        self.owner = None
        self.balance = 0

    @command
    def open(self, owner: str):
        if self.owner is not None:
            reject("already_open", "this account is open already")
        return emit("Opened", owner=owner)

    @command
    def deposit(self, amount: int):
        self.must_be_open()
        return emit("Deposited", amount=amount)

    @command
    def withdraw(self, amount: int):
        self.must_be_open()
        if self.balance < amount:
            reject("insufficient_funds", "the balance is too low", balance=self.balance)
        return emit("Withdrawn", amount=amount)

    def must_be_open(self):
        if self.owner is None:
            reject("not_open", "open this account first")

    @event
    def Opened(self, owner):
        self.owner = owner

    @event
    def Deposited(self, amount):
        self.balance += amount

    @event
    def Withdrawn(self, amount):
        self.balance -= amount


Manifest, Aggregate = factum_sdk.module("account", "1.0.0", [Account])
