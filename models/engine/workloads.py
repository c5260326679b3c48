"""Texts for `laguna bench`."""

from __future__ import annotations

_METHOD = '''
    def {name}(self, amount: int, *, note: str = "") -> int:
        """{doc} Returns the new balance in cents."""
        if amount <= 0:
            raise ValueError(f"amount must be positive, not {{amount}}")
        before = self.balance
        self.balance {sign}= amount
        self.history.append(Entry("{name}", amount, before, self.balance, note))
        if self.balance < self.limit:
            self.balance = before
            raise OverdrawnError(self.number, amount)
        return self.balance
'''

_WORDS = (
    ("deposit", "Put money in.", "+"),
    ("withdraw", "Take money out.", "-"),
    ("charge_fee", "Take a fee.", "-"),
    ("pay_interest", "Add interest.", "+"),
    ("refund", "Give money back.", "+"),
    ("reserve", "Hold money for a purchase.", "-"),
    ("release", "Let go of held money.", "+"),
    ("correct_up", "Correct an error in favour of the customer.", "+"),
    ("correct_down", "Correct an error in favour of the bank.", "-"),
    ("settle", "Settle a purchase.", "-"),
    ("collect", "Collect a cheque.", "+"),
)

FILE = (
    '"""Accounts of a small bank."""\n\nfrom dataclasses import dataclass, field\n\n\n'
    "class OverdrawnError(Exception):\n    pass\n\n\n@dataclass\nclass Entry:\n"
    "    kind: str\n    amount: int\n    before: int\n    after: int\n    note: str = \"\"\n\n\n"
    "@dataclass\nclass Account:\n    number: str\n    balance: int = 0\n    limit: int = 0\n"
    "    history: list[Entry] = field(default_factory=list)\n"
    + "".join(_METHOD.format(name=name, doc=doc, sign=sign) for name, doc, sign in _WORDS)
)  # fmt: skip
"""About 150 lines of Python."""

REWRITE = (
    "Write this file again, whole, in one code block, with exactly three changes: the default of "
    "`limit` is -10000; the method `reserve` is named `hold`; the method `settle` is named "
    "`settle_up`. Change nothing else.\n\n"
)
QUOTE = "Quote the methods `refund`, `reserve` and `release` of this file in one code block.\n\n"
PROSE = "Tell a story about a lighthouse keeper who repairs clocks. Do not use lists."


def code(characters: int) -> str:
    """Python code of at least `characters` characters, without two equal methods."""
    parts = [FILE]
    size, number = len(FILE), 0
    while size < characters:
        name, doc, sign = _WORDS[number % len(_WORDS)]
        part = _METHOD.format(
            name=f"{name}_{number}", doc=f"{doc} Case {number * 7919}.", sign=sign
        )
        parts.append(part)
        size += len(part)
        number += 1
    return "".join(parts)
