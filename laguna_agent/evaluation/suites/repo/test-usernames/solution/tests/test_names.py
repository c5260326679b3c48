import unittest

from accounts.names import username_error


class TestNames(unittest.TestCase):
    def test_fine(self):
        for name in ("abc", "a" * 12, "a1b2"):
            self.assertIsNone(username_error(name))

    def test_refused(self):
        for name in ("ab", "a" * 13, "1abc", "ab-c", "ABC", ""):
            self.assertIsNotNone(username_error(name))
