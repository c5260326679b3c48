import unittest
from roman import to_int

class RomanTest(unittest.TestCase):
    def test_additive(self):
        self.assertEqual(to_int("XVI"), 16)
    def test_subtractive(self):
        self.assertEqual(to_int("MCMXCIV"), 1994)
