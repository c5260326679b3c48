import unittest

from fizz import *


class TestFizz(unittest.TestCase):
    def test_three(self):
        self.assertEqual(fizz(9), "fizz")

    def test_five(self):
        self.assertEqual(fizz(10), "buzz")

    def test_other(self):
        self.assertEqual(fizz(7), "7")

    def test_both(self):
        self.assertEqual(fizz(30), "fizzbuzz")
