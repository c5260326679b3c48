class Inventory:
    """How much of each article is in the store."""

    def __init__(self):
        self.stock = {}

    def add(self, article, count):
        self.stock[article] = self.stock.get(article, 0) + count

    def available(self, article):
        return self.stock.get(article, 0)

    def reserve(self, article, count):
        if count > self.available(article):
            return False
        self.stock[article] -= count
        return True

    def release(self, article, count):
        self.add(article, count)
