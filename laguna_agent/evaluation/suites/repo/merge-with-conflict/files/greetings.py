GREETINGS = {
    "en": "Hello",
    "de": "Hallo",
}


def greet(language, name):
    return f"{GREETINGS[language]}, {name}!"
