def multipliers(count=4):
    """Functions that multiply by 0, 1, 2 and so on."""
    functions = []
    for factor in range(count):
        functions.append(lambda value: value * factor)
    return functions
