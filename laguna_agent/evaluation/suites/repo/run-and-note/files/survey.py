import hashlib

value = 0
for step in range(20000):
    digest = hashlib.sha256(f"{value}-{step}".encode()).hexdigest()
    value = int(digest[:8], 16) % 1000003
print(value)
