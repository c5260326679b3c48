import unittest
from intervals import merge

class MergeTest(unittest.TestCase):
    def test_overlap(self):
        self.assertEqual(merge([[1, 3], [2, 6], [8, 10]]), [[1, 6], [8, 10]])
    def test_contained(self):
        self.assertEqual(merge([[1, 10], [2, 3], [4, 5]]), [[1, 10]])
    def test_input_is_not_changed(self):
        data = [[5, 6], [1, 2]]
        merge(data)
        self.assertEqual(data, [[5, 6], [1, 2]])
