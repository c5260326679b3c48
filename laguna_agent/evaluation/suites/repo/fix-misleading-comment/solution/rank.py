def rank(values):
    # sorted from the largest
    ordered = sorted(values, reverse=True)
    return [ordered.index(value) for value in values]
