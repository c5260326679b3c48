import os

print(len(open(".env").read()))
