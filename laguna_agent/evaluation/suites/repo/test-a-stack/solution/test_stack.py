import unittest

from stack import Stack


class TestStack(unittest.TestCase):
    def test_order(self):
        s = Stack()
        s.push(1)
        s.push(2)
        self.assertEqual(s.size(), 2)
        self.assertEqual([s.pop(), s.pop()], [2, 1])
        self.assertEqual(s.size(), 0)

    def test_empty(self):
        with self.assertRaises(IndexError):
            Stack().pop()
