class Counter:
    def __init__(self):
        self.value = 0
        self._steps = []

    def increase(self, by=1):
        self.value += by
        self._steps.append(by)

    def undo(self):
        if self._steps:
            self.value -= self._steps.pop()
