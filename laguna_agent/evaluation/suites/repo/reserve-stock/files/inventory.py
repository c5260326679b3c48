class Inventory:
    """How much of each article is in the store."""

    def __init__(self):
        self.stock = {}

    def add(self, article, count):
        self.stock[article] = self.stock.get(article, 0) + count

    def available(self, article):
        return self.stock.get(article, 0)
