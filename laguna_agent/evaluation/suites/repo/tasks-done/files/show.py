import json

from tasks import open_titles, summary

with open("tasks.json") as file:
    tasks = json.load(file)

print(summary(tasks))
print("to do:", ", ".join(open_titles(tasks)))
