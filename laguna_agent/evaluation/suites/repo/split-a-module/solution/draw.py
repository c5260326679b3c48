from circle import Circle
from square import Square

for shape in (Circle(1), Square(2)):
    print(type(shape).__name__, shape.area())
