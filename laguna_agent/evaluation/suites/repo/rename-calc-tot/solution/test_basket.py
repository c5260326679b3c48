import unittest

from shop.basket import calculate_total


class TestBasket(unittest.TestCase):
    def test_calculate_total(self):
        self.assertEqual(calculate_total([(2, 5), (1, 1)]), 11)

    def test_empty(self):
        self.assertEqual(calculate_total([]), 0)
