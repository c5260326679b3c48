import settings


def get_config(name):
    return settings.get(name)


def address():
    return f"{get_config('host')}:{get_config('port')}"
