import unittest

from inventory import Inventory


class TestInventory(unittest.TestCase):
    def setUp(self):
        self.inventory = Inventory()
        self.inventory.add("lamp", 5)

    def test_available(self):
        self.assertEqual(self.inventory.available("lamp"), 5)
        self.assertEqual(self.inventory.available("desk"), 0)

    def test_reserve(self):
        self.assertTrue(self.inventory.reserve("lamp", 3))
        self.assertEqual(self.inventory.available("lamp"), 2)

    def test_reserve_too_many(self):
        self.assertFalse(self.inventory.reserve("lamp", 6))
        self.assertEqual(self.inventory.available("lamp"), 5)

    def test_reserve_unknown(self):
        self.assertFalse(self.inventory.reserve("desk", 1))

    def test_release(self):
        self.inventory.reserve("lamp", 3)
        self.inventory.release("lamp", 1)
        self.assertEqual(self.inventory.available("lamp"), 3)


if __name__ == "__main__":
    unittest.main()
