import unittest

from booking import busy, free


class BusyTest(unittest.TestCase):
    def test_meetings_that_touch_are_one_block(self):
        self.assertEqual(busy([(540, 600), (600, 630)]), [[540, 630]])

    def test_meetings_apart_stay_apart(self):
        self.assertEqual(busy([(700, 720), (540, 600)]), [[540, 600], [700, 720]])

    def test_short_meeting_inside_a_long_one(self):
        self.assertEqual(busy([(540, 660), (570, 600)]), [[540, 660]])


class FreeTest(unittest.TestCase):
    def test_gap_between_two_meetings(self):
        self.assertEqual(free([(540, 600), (660, 720)], 540, 720), [[600, 660]])


if __name__ == "__main__":
    unittest.main()
