import unittest

from convert import celsius_to_fahrenheit, celsius_to_kelvin, fahrenheit_to_celsius


class TestConvert(unittest.TestCase):
    def test_to_fahrenheit(self):
        self.assertEqual(celsius_to_fahrenheit(100), 212)

    def test_to_celsius(self):
        self.assertEqual(fahrenheit_to_celsius(212), 100)
        self.assertEqual(fahrenheit_to_celsius(32), 0)

    def test_to_kelvin(self):
        self.assertEqual(celsius_to_kelvin(0), 273.15)


if __name__ == "__main__":
    unittest.main()
