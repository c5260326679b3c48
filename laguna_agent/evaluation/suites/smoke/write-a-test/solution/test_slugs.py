import unittest

from slugs import slug


class TestSlug(unittest.TestCase):
    def test_lower_case_and_spaces(self):
        self.assertEqual(slug("Hello World"), "hello-world")

    def test_ends(self):
        self.assertEqual(slug(" (a, b)! "), "a-b")
