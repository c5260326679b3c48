import unittest

from model import *


class TestModel(unittest.TestCase):
    def test_greet(self):
        self.assertEqual(User("A").greet(), "I am A")
