from banner import line
from text import repeat

print(line(3))
print(repeat("ab", times=3))
print(repeat("x", 4))
