import unittest

from ledger import overdrawn, total


class TestLedger(unittest.TestCase):
    def test_a_balance_at_the_limit_is_allowed(self):
        self.assertFalse(overdrawn(-5, 5))

    def test_a_balance_below_the_limit_is_overdrawn(self):
        self.assertTrue(overdrawn(-6, 5))

    def test_total(self):
        self.assertEqual(total([1, 2, -3]), 0)
