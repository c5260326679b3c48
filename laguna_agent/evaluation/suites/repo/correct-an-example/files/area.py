import sys

width, height = map(float, sys.argv[1:])
print(f"area {width * height:.1f} m²")
