PORT = 8043


def serve(port=None):
    return f"admin on {port or PORT}"
