import configparser

DEFAULTS = {"server_address": "localhost:80", "workers": "1"}


def load(path="settings.ini"):
    parser = configparser.ConfigParser()
    parser.read(path)
    values = dict(DEFAULTS)
    if parser.has_section("server"):
        values.update(parser["server"])
    return values
