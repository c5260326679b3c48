"""Accounts that may be overdrawn up to a limit."""


def overdrawn(balance, limit):
    """Whether a balance is below what its limit allows. A balance at the limit is allowed."""
    return balance < -limit


def total(entries):
    """The sum of all entries."""
    return sum(entries)
