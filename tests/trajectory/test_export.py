"""What a session looks like to others: ATIF, HTML, Markdown, with and without secrets."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser

import pytest

from laguna_agent.events import Checkpointed, Event, Reply, Rewound, ToolFinished, UserMessage
from laguna_agent.trajectory.atif import write_atif
from laguna_agent.trajectory.document import write_html, write_markdown
from laguna_agent.trajectory.redact import Redacted, Redactor, redacted_meta
from laguna_agent.trajectory.replay import Source
from laguna_agent.trajectory.store import Trajectory
from support import sessions as samples
from support.atif import Document
from support.sessions import call, reply, result


def fill(trajectory: Trajectory, *events: Event) -> None:
    for event in events or samples.session():
        trajectory.append(event)


def atif(source: Source, **options: object) -> Document:
    out = io.StringIO()
    write_atif(source, out, session="s", **options)  # type: ignore[arg-type]
    return Document.model_validate(json.loads(out.getvalue()))


def test_a_session_is_a_valid_document(trajectory: Trajectory) -> None:
    fill(trajectory)
    document = atif(trajectory)
    assert document.agent.name == "laguna"
    assert document.agent.model_name == "tiny"
    assert document.agent.tool_definitions is not None
    assert document.agent.tool_definitions[0]["function"]["name"] == "shell"
    assert [step.source for step in document.steps] == [
        "system",
        "user",
        "agent",
        "system",
        "agent",
        "system",
        "agent",
    ]
    assert document.final_metrics is not None
    assert document.final_metrics.total_steps == 7
    assert document.final_metrics.total_completion_tokens == 6


def test_results_are_in_the_step_of_their_calls(trajectory: Trajectory) -> None:
    fill(
        trajectory,
        samples.system(),
        reply(call("a"), call("b"), prompt=[4], ids=[5]),
        result("b", "second"),
        result("a", "first"),
    )
    step = atif(trajectory).steps[-1]
    assert step.tool_calls is not None
    assert [c.tool_call_id for c in step.tool_calls] == ["a", "b"]
    assert step.observation is not None
    assert {r.source_call_id: r.content for r in step.observation.results} == {
        "a": "first",
        "b": "second",
    }


def test_each_step_has_the_exact_ids_of_its_whole_prompt(trajectory: Trajectory) -> None:
    fill(trajectory)
    metrics = [step.metrics for step in atif(trajectory).steps if step.metrics]
    assert [(m.prompt_token_ids, m.completion_token_ids) for m in metrics] == [
        ([1, 2, 3, 10, 11, 12], [20, 21]),
        ([1, 2, 3, 10, 11, 12, 20, 21, 13, 14], [22, 23, 24]),
        ([1, 2, 3, 10, 11, 12, 20, 21, 13, 14, 22, 23, 24, 15], [25]),
    ]


def test_log_probabilities_are_exported_when_recorded(trajectory: Trajectory) -> None:
    with_them = reply(text="x", prompt=[4], ids=[5, 6])
    with_them.logprobs = [-0.5, -1.0]
    fill(trajectory, samples.system(), with_them, reply(text="y", prompt=[7], ids=[8]))
    metrics = [step.metrics for step in atif(trajectory).steps if step.metrics]
    assert [m.logprobs for m in metrics] == [[-0.5, -1.0], None]


def test_discarded_replies_are_counted_and_rewound_ones_left_out(trajectory: Trajectory) -> None:
    thrown = reply(text="bad", prompt=[4], ids=[5])
    thrown.discarded = True
    fill(
        trajectory,
        samples.system(),
        UserMessage(text="go"),
        reply(text="gone", prompt=[4], ids=[5]),
        Rewound(to_seq=2),
        thrown,
        reply(text="stays", prompt=[4], ids=[6]),
    )
    document = atif(trajectory)
    assert [step.message for step in document.steps] == ["You are laguna.", "go", "stays"]
    assert document.final_metrics is not None
    assert document.final_metrics.extra is not None
    assert document.final_metrics.extra["discarded_replies"] == 1


def test_an_empty_session_is_valid_too(trajectory: Trajectory) -> None:
    assert len(atif(trajectory).steps) == 1


def test_strange_text_survives(trajectory: Trajectory) -> None:
    text = 'quote " \u2028 \ud800 \0 </script>'
    fill(trajectory, samples.system(), UserMessage(text=text))
    assert atif(trajectory).steps[-1].message == text


# --- pages ----------------------------------------------------------------------------------


class Balanced(HTMLParser):
    """Follows the tags and notes what does not close, and every script."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.scripts = 0
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.scripts += tag == "script"
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_shows_everything_and_runs_nothing(trajectory: Trajectory) -> None:
    evil = "<script>alert(1)</script> & <b>"
    fill(trajectory, *samples.session(), UserMessage(text=evil), result("z", evil * 50))
    out = io.StringIO()
    write_html(trajectory.events(), trajectory.meta, out)
    page = Balanced()
    page.feed(out.getvalue())
    assert page.open == []
    assert page.scripts == 0
    assert evil in page.text
    for text in ("Fix calc.add", "pytest -q", "1 passed", "add adds", "a + b"):
        assert text in page.text
    assert 'id="e4"' in out.getvalue()


def test_markdown_fences_hold_whatever_is_in_them(trajectory: Trajectory) -> None:
    content = "```\ncode\n```\n# not a heading of ours\n" * 4
    fill(trajectory, result("z", content))
    out = io.StringIO()
    write_markdown(trajectory.events(), trajectory.meta, out)
    assert "````\n" + content in out.getvalue()


@pytest.mark.parametrize(
    ("files", "shown"), [(0, "\nc1\n"), (1, "\n1 file, c1\n"), (2_000, "\n2,000 files, c1\n")]
)
def test_a_checkpoint_counts_its_files_where_the_record_does(
    trajectory: Trajectory, files: int, shown: str
) -> None:
    fill(trajectory, Checkpointed(id="c1", files=files))
    markdown, html = io.StringIO(), io.StringIO()
    write_markdown(trajectory.events(), trajectory.meta, markdown)
    write_html(trajectory.events(), trajectory.meta, html)
    assert shown in markdown.getvalue()
    assert f"<p>{shown.strip()}</p>" in html.getvalue()


# --- secrets --------------------------------------------------------------------------------

KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\n-----END RSA PRIVATE KEY-----"
SECRETS = [
    ("AKIA" + "ABCDEFGHIJKLMNOP", "AWS key"),
    ("ghp_" + "a1B2" * 9, "GitHub token"),
    ("glpat-" + "x1Y2" * 5, "GitLab token"),
    ("xoxb-" + "123456789012-abc", "Slack token"),
    ("sk-ant-" + "a1b2" * 8, "API key"),
    ("AIza" + "b" * 35, "Google key"),
    ("hf_" + "Q" * 34, "Hugging Face token"),
    ("npm_" + "R" * 36, "npm token"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "JSON web token"),
    (KEY, "private key"),
]


@pytest.mark.parametrize(("secret", "kind"), SECRETS, ids=[kind for _, kind in SECRETS])
def test_secrets_are_removed_and_reported(secret: str, kind: str) -> None:
    redactor = Redactor()
    cleaned = redactor.text(f"before {secret} after")
    assert cleaned == f"before [removed: {kind}] after"
    assert f"1 {kind}" in redactor.report()


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("DB_PASSWORD=hunter2hunter2", "hunter2hunter2"),
        ('{"api_key": "zzz-top-secret"}', "zzz-top-secret"),
        ("client-secret: 'abcdefgh'", "abcdefgh"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("https://user:pa55word@example.com/x", "pa55word"),
    ],
)
def test_assigned_secrets_are_removed_and_their_names_stay(text: str, secret: str) -> None:
    redactor = Redactor()
    cleaned = redactor.text(text)
    assert secret not in cleaned
    assert "[removed: " in cleaned
    assert sum(redactor.counts.values()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "the token count is 5",
        "password: [removed: x]",
        "def get_token(self):",
        "secret = ''",
        "a:b@c",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert Redactor().text(text) == text


def test_a_secret_that_the_title_cuts_is_removed_from_it_too(trajectory: Trajectory) -> None:
    fill(trajectory, UserMessage(text="x" * 100 + " ghp_" + "a1B2" * 9))
    assert "ghp_" in trajectory.meta.title
    meta = redacted_meta(Redacted(trajectory, Redactor()), trajectory.meta)
    assert "ghp_" not in meta.title


def test_a_redacted_export_holds_no_secret_in_any_form(trajectory: Trajectory) -> None:
    secret = "ghp_" + "a1B2" * 9
    fill(
        trajectory,
        samples.system(),
        UserMessage(text=f"use {secret}", context=secret),
        reply(call("a", command=f"echo {secret}", password="plainword"), prompt=[4], ids=[5]),
        ToolFinished(call_id="a", name="shell", ok=True, content=secret * 3, diff=f"+{secret}"),
    )
    redactor = Redactor()
    source = Redacted(trajectory, redactor)
    outs = [io.StringIO() for _ in range(3)]
    write_atif(source, outs[0], session="s", token_ids=False)
    write_html(source.events(), redacted_meta(source, trajectory.meta), outs[1])
    write_markdown(source.events(), redacted_meta(source, trajectory.meta), outs[2])
    for out in outs:
        assert secret not in out.getvalue()
        assert "plainword" not in out.getvalue()
        assert "[removed: GitHub token]" in out.getvalue()
    Document.model_validate(json.loads(outs[0].getvalue()))
    replies = [item.event for item in source.events() if isinstance(item.event, Reply)]
    assert replies[0].token_ids is None
    assert replies[0].prompt_token_ids is None
    assert "GitHub token" in redactor.report()
