import settings


def address():
    return f"{settings.get('host')}:{settings.get('port')}"
