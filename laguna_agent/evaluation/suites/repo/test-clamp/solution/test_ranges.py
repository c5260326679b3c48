import unittest

from ranges import clamp


class TestClamp(unittest.TestCase):
    def test_clamp(self):
        self.assertEqual(clamp(1, 2, 4), 2)
        self.assertEqual(clamp(9, 2, 4), 4)
        self.assertEqual(clamp(3, 2, 4), 3)

    def test_error(self):
        with self.assertRaises(ValueError):
            clamp(1, 4, 2)
