import unittest

from model import *


class TestModel(unittest.TestCase):
    def test_greet(self):
        self.assertEqual(Usr("A").greet(), "I am A")
