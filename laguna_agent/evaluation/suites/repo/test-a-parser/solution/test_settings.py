import unittest

from settings import parse


class TestParse(unittest.TestCase):
    def test_values(self):
        self.assertEqual(parse(' a =  1 \n\n# b = 2\n'), {'a': '1'})

    def test_error(self):
        with self.assertRaises(ValueError):
            parse('no')
