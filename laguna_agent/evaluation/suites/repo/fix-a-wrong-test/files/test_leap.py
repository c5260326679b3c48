import unittest

from leap import *


class TestLeap(unittest.TestCase):
    def test_leap_years(self):
        for year in (1996, 2000, 1900, 2024):
            self.assertTrue(is_leap(year))

    def test_other_years(self):
        for year in (1999, 2100):
            self.assertFalse(is_leap(year))
