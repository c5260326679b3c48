import unittest

from orders import *


class TestOrders(unittest.TestCase):
    def test_total(self):
        self.assertEqual(total(["2 x 3.50", "1 x 0.99"]), 799)

    def test_whole_amounts(self):
        self.assertEqual(total(["3 x 5"]), 1500)
