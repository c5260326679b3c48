"""Redaction takes out whole secrets in the forms that files, commands and logs have them in."""

from __future__ import annotations

import json

import pytest

from laguna_agent.events import ToolCall
from laguna_agent.trajectory.redact import Redactor

PEM = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1r\nc2VjcmV0bGlu\n"
    "-----END OPENSSH PRIVATE KEY-----"
)
SECRETS = [
    # quoted, with spaces
    ('password = "correct horse"', "correct horse"),
    ("password = 'correct horse battery'", "correct horse battery"),
    ("const dbPassword = `correct horse`;", "correct horse"),
    ('password: str = "correct horse"', "correct horse"),
    ('if password == "correct horse":', "correct horse"),
    ('client.login(user="me", password="it\'s correct")', "it's correct"),
    ('secret = "a \\"quoted\\" horse"', 'a \\"quoted\\" horse'),
    ('token := "correct horse"', "correct horse"),
    ("'secret' => 'correct horse',", "correct horse"),
    ('api_key = """correct\nhorse"""', "correct\nhorse"),
    # JSON, and JSON in a string of JSON
    ('{"password": "correct horse", "user": "me"}', "correct horse"),
    (json.dumps({"body": json.dumps({"clientSecret": "correct horse"})}), "correct horse"),
    ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
    # YAML
    ("db:\n  password: correct horse\n  user: me", "correct horse"),
    ("password: |\n  correct\n  horse\nuser: me", "correct\n  horse"),
    ("- name: DB_PASSWORD\n  value: correct horse\n", "correct horse"),
    # .env, INI, .netrc, .npmrc
    ("DB_PASSWORD=correct horse", "correct horse"),
    ("export API_TOKEN='correct horse'", "correct horse"),
    ("[db]\npassword = correct horse ; set by me", "correct horse"),
    ("machine h login me password horse1", "horse1"),
    ("//registry.npmjs.org/:_authToken=horse-battery", "horse-battery"),
    # keys of several lines
    (PEM, "b3BlbnNzaC1r"),
    (json.dumps({"key": PEM}), "c2VjcmV0bGlu"),
    ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nlQOY\n-----END PGP PRIVATE KEY BLOCK-----", "lQOY"),
    ("key: |\n" + PEM.replace("\n", "\n  "), "c2VjcmV0bGlu"),
    # URLs
    ("postgres://me:p@ss:w0rd@host:5432/db", "p@ss:w0rd"),
    ("redis://:horse@host/0", "horse"),
    ("https://0123456789abcdef0123456789abcdef@github.com/me/it", "0123456789abcdef"),
    ("https://host/a?x=1&access_token=horsebattery&y=2", "horsebattery"),
    ("https://blob/a?sv=1&sig=Abcdefghij0123456789%3D", "Abcdefghij0123456789"),
    # connection strings
    ("Server=h;User Id=me;Password=correct horse;Timeout=5", "correct horse"),
    ("AccountName=a;AccountKey=abcd1234abcd==;EndpointSuffix=c", "abcd1234abcd=="),
    ("host=h user=me password='correct horse' dbname=d", "correct horse"),
    # commands
    ("mysql --password=horse1 -u me", "horse1"),
    ("tool --api-key horse1234 run", "horse1234"),
    ("tool --token 'correct horse' run", "correct horse"),
    ("curl -H 'X-Api-Key: horse-battery' h", "horse-battery"),
    ("+password = 'correct horse'", "correct horse"),
]


@pytest.mark.parametrize(("text", "secret"), SECRETS, ids=[text[:32] for text, _ in SECRETS])
def test_no_part_of_a_secret_stays(text: str, secret: str) -> None:
    redactor = Redactor()
    cleaned = redactor.text(text)
    for word in secret.replace("\\", " ").replace('"', " ").split():
        assert len(word) < 3 or word not in cleaned, cleaned
    assert "[removed: " in cleaned
    assert sum(redactor.counts.values()) == 1
    assert redactor.text(cleaned) == cleaned


def test_what_stands_around_a_secret_stays() -> None:
    text = 'a = 1\npassword = "correct horse"  # mine\nb = 2'
    cleaned = Redactor().text(text)
    assert cleaned == 'a = 1\npassword = "[removed: assigned secret]"  # mine\nb = 2'
    url = Redactor().text("see postgres://me:horse@host:5432/db?x=1 there")
    assert url == "see postgres://[removed: password in a URL]@host:5432/db?x=1 there"


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens = 400000",
        "tokenizer: sentencepiece-model",
        "secretary: Barbara Streisand",
        "def check(password: str, token: str | None = None) -> bool:",
        "    password: str",
        "password = getpass()",
        "token = next(tokens)",
        'os.environ["API_TOKEN"]',
        "https://host:8080/path@2x.png",
        "git@github.com:me/it.git",
        "see http://host/a and mail me@host",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "password: ${DB_PASSWORD}",
        "the password is asked for",
        "--token-file tokens.txt",
        'password = ""',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_an_argument_that_has_the_name_of_a_secret_is_removed_whole() -> None:
    call = ToolCall(id="a", name="login", arguments={"dbPassword": "correct horse", "user": "me"})
    cleaned = Redactor().value(call.model_dump())
    assert cleaned["arguments"] == {"dbPassword": "[removed: assigned secret]", "user": "me"}


def test_a_long_line_takes_no_longer_than_its_length() -> None:
    """A text that almost matches everywhere: work that grew with its square would never end."""
    text = "token" * 20_000 + "-password" * 10_000 + " a:" * 20_000 + "://" * 10_000
    assert Redactor().text(text) == text
