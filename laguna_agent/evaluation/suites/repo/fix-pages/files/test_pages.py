import unittest

from pages import *


class TestPages(unittest.TestCase):
    def test_a_full_page_needs_no_second(self):
        self.assertEqual(page_count(10, 10), 1)

    def test_one_more_does(self):
        self.assertEqual(page_count(11, 10), 2)

    def test_page(self):
        self.assertEqual(page([1, 2, 3, 4, 5], 2, 2), [3, 4])
