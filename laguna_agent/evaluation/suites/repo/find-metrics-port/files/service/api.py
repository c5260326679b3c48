PORT = 8042


def serve(port=PORT):
    return f"api on {port}"
