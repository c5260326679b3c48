import tools

print(tools.double("a"))
