class Counter:
    def __init__(self):
        self.value = 0

    def increase(self, by=1):
        self.value += by
