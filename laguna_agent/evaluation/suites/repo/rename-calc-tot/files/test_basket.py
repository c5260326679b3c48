import unittest

from shop.basket import calc_tot


class TestBasket(unittest.TestCase):
    def test_calc_tot(self):
        self.assertEqual(calc_tot([(2, 5), (1, 1)]), 11)

    def test_empty(self):
        self.assertEqual(calc_tot([]), 0)
