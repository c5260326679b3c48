import unittest

from week import *


class TestWeek(unittest.TestCase):
    def test_after_monday(self):
        self.assertEqual(next_working_day("mon"), "tue")

    def test_after_friday(self):
        self.assertEqual(next_working_day("fri"), "mon")
