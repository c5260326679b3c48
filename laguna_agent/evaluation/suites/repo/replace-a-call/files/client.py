from legacy import address, get_config


def describe():
    return f"port {get_config('port')} of {address()}"
