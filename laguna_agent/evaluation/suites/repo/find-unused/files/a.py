from tools import fold

print(fold("A"))
