from app.settings import load


def address(path="settings.ini"):
    host, _, port = load(path)["server_address"].rpartition(":")
    return host, int(port)


if __name__ == "__main__":
    print("listening on", *address())
