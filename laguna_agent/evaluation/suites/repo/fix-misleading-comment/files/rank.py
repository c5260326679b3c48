def rank(values):
    # sorted from the largest
    ordered = sorted(values)
    return [ordered.index(value) for value in values]
