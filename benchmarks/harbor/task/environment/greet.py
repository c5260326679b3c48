import sys

name = sys.argv[0]
print(f"Hello, {name}!")
