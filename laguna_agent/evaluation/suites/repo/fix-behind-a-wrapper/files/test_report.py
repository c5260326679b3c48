import unittest

from report import *


class TestReport(unittest.TestCase):
    def test_three_names(self):
        person = {"first": "Ada", "middle": "King", "last": "Lovelace"}
        self.assertEqual(header(person), "Report for Ada King Lovelace")

    def test_no_middle_name(self):
        self.assertEqual(header({"first": "Alan", "last": "Turing"}), "Report for Alan Turing")
