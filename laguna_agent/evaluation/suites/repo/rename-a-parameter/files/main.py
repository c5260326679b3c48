from banner import line
from text import repeat

print(line(3))
print(repeat("ab", n=3))
print(repeat("x", 4))
