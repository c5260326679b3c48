"""A session as a readable document: Markdown, or one self-contained HTML file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import TextIO

from laguna_agent.events import (
    ApprovalGiven,
    ApprovalRequested,
    Checkpointed,
    CheckRan,
    Compacted,
    EngineRestarted,
    Event,
    Notice,
    PlanUpdated,
    Reply,
    Rewound,
    SessionStarted,
    SystemNote,
    SystemPrompt,
    ToolFinished,
    TurnFinished,
    UserMessage,
    plan_text,
)
from laguna_agent.plurals import counted
from laguna_agent.trajectory.codec import StoredEvent
from laguna_agent.trajectory.event_text import call_text
from laguna_agent.trajectory.meta import Meta

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--user:#2f6f4f;--agent:#3b5bdb;
--bad:#c92a2a;--good:#2b8a3e}
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem}
article{border-left:3px solid var(--line);padding:.1rem 0 .1rem 1rem;margin:1rem 0}
article.user{border-color:var(--user)}article.agent{border-color:var(--agent)}
article.bad{border-color:var(--bad)}article.good{border-color:var(--good)}
header small,h3 small{color:#888;font-weight:normal}h3{font-size:1rem;margin:.3rem 0}
h3 a{color:inherit;text-decoration:none}
pre{background:var(--soft);padding:.6rem;overflow:auto;max-height:32rem;border-radius:4px;
font-size:.85rem;white-space:pre-wrap;overflow-wrap:anywhere}
.add{color:var(--good)}.del{color:var(--bad)}summary{cursor:pointer}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;vertical-align:top}
"""


class DocumentBlock:
    """One part of an event: text, or preformatted text that may be folded under a label."""

    def __init__(self, text: str, *, pre: bool = False, fold: str = "", diff: bool = False) -> None:
        self.text, self.pre, self.fold, self.diff = text, pre or bool(fold) or diff, fold, diff


def blocks_of(event: Event) -> tuple[str, str, list[DocumentBlock]] | None:
    """Title, CSS class and parts of an event; None for events without content."""
    match event:
        case SystemPrompt():
            return (
                "System prompt",
                "",
                [DocumentBlock(event.text, fold=counted(event.tokens, "token"))],
            )
        case UserMessage():
            context = (
                [DocumentBlock(event.context, fold="attached context")] if event.context else []
            )
            return "User", "user", [DocumentBlock(event.text), *context]
        case SystemNote():
            return (
                f"Note to the model ({event.reason})",
                "",
                [DocumentBlock(event.text, fold="text")],
            )
        case Notice():
            return (
                event.level.capitalize(),
                "bad" * (event.level == "error"),
                [DocumentBlock(event.text)],
            )
        case Reply():
            return _reply(event)
        case ToolFinished():
            return _tool(event)
        case CheckRan():
            kind = "good" if event.exit_code == 0 else "bad"
            return (
                f"Check `{event.command}` (exit {event.exit_code})",
                kind,
                [DocumentBlock(event.output, fold="output")],
            )
        case PlanUpdated():
            return "Plan", "", [DocumentBlock(plan_text(event.steps), pre=True)]
        case Compacted():
            dropped = "; ".join(event.dropped) or "nothing"
            size = f"{event.tokens_before} → {event.tokens_after} tokens; dropped: {dropped}"
            return "Compacted", "", [DocumentBlock(size), DocumentBlock(event.summary, pre=True)]
        case Rewound():
            return f"Rewound to event {event.to_seq}", "", []
        case ApprovalRequested():
            action = event.action.model_dump(exclude={"diff"})
            shown = ", ".join(f"{name} {value}" for name, value in action.items())
            return (
                f"Approval requested: {event.tool}",
                "",
                [DocumentBlock(f"{shown}. {event.decision.reason}")],
            )
        case ApprovalGiven():
            return (
                f"Answer: {event.answer}{f' ({event.scope})' if event.scope else ''}",
                "",
                [DocumentBlock(event.reason)] if event.reason else [],
            )
        case EngineRestarted(server=True):
            return "Server asked again", "bad", [DocumentBlock(event.reason)]
        case EngineRestarted():
            return "Engine restarted", "bad", [DocumentBlock(event.reason)]
        case Checkpointed():
            # Records of older versions have no count.
            size = f"{counted(event.files, 'file')}, " if event.files else ""
            return "Checkpoint", "", [DocumentBlock(f"{size}{event.id}")]
        case TurnFinished():
            kind = "good" if event.status == "done" else "bad"
            usage = event.usage
            numbers = (
                f"{counted(event.steps, 'step')}, {round(event.worked_s, 3):g} s, "
                f"{counted(usage.prefilled_tokens, 'token')} read, {usage.reused_tokens} reused, "
                f"{usage.completion_tokens} written"
            )
            parts = [
                DocumentBlock(text) for text in (event.summary, event.error or "", numbers) if text
            ]
            return f"Turn ended: {event.status}", kind, parts
        case _:
            return None


def write_markdown(events: Iterable[StoredEvent], meta: Meta, out: TextIO) -> None:
    """Write a session as Markdown."""
    out.write(f"# {meta.title or meta.id}\n\n")
    out.writelines(f"- {name}: {value}\n" for name, value in _facts(meta))
    for stored in events:
        found = blocks_of(stored.event)
        if found is None:
            continue
        title, _, blocks = found
        out.write(f"\n## e{stored.seq} {title}\n")
        out.writelines("\n" + _markdown(block) + "\n" for block in blocks)


def write_html(events: Iterable[StoredEvent], meta: Meta, out: TextIO) -> None:
    """Write a session as one HTML file without scripts or external resources."""
    title = escape(meta.title or meta.id)
    out.write(
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style></head>\n<body>\n"
        f"<header><h1>{title}</h1><table>\n"
    )
    out.writelines(
        f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>\n"
        for name, value in _facts(meta)
    )
    out.write("</table></header>\n")
    for stored in events:
        found = blocks_of(stored.event)
        if found is None:
            continue
        head, kind, blocks = found
        anchor = f"e{stored.seq}"
        out.write(
            f'<article class="{kind}" id="{anchor}"><h3><a href="#{anchor}">{anchor}</a> '
            f"{escape(head)} <small>{escape(stored.ts[11:19])}</small></h3>\n"
        )
        out.writelines(_html(block) for block in blocks)
        out.write("</article>\n")
    out.write("</body></html>\n")


def _reply(event: Reply) -> tuple[str, str, list[DocumentBlock]]:
    blocks = [DocumentBlock(event.thinking, fold="thinking")] if event.thinking else []
    if event.text:
        blocks.append(DocumentBlock(event.text))
    blocks += [DocumentBlock(call_text(call), pre=True) for call in event.tool_calls]
    if event.error:
        blocks.append(DocumentBlock(event.error))
    if event.miss is not None:
        why = f"cache miss at token {event.miss.position}: {event.miss.reason}"
        blocks.append(DocumentBlock(why))
    usage = event.usage
    spent = f"{usage.prefilled_tokens} read, {usage.reused_tokens} reused, "
    title = f"Model ({spent}{usage.completion_tokens} written)"
    return title + (" discarded" if event.discarded else ""), "agent", blocks


def _tool(event: ToolFinished) -> tuple[str, str, list[DocumentBlock]]:
    summary = f": {event.summary}" if event.summary else ""
    blocks = [DocumentBlock(event.diff, diff=True)] if event.diff else []
    lines = event.content.count("\n") + 1
    if lines <= 6 and len(event.content) < 600:
        blocks.append(DocumentBlock(event.content, pre=True))
    else:
        blocks.append(DocumentBlock(event.content, fold=f"result, {counted(lines, 'line')}"))
    return f"{event.title or event.name}{summary}", "" if event.ok else "bad", blocks


def _facts(meta: Meta) -> Iterator[tuple[str, str]]:
    yield "session", meta.id
    for name in ("repository", "branch", "model", "status", "created", "updated", "parent"):
        value = getattr(meta, name)
        if value:
            yield name, str(value)
    sizes = counted(meta.turns, "turn"), counted(meta.steps, "step"), counted(meta.events, "event")
    yield "size", ", ".join(sizes)
    if meta.files_changed:
        yield "changed", ", ".join(meta.files_changed)


def _markdown(block: DocumentBlock) -> str:
    if not block.pre:
        return block.text
    longest = max((len(run) for run in re.findall(r"`{3,}", block.text)), default=2)
    fence = "`" * (longest + 1)
    language = "diff" if block.diff else ""
    text = f"{fence}{language}\n{block.text.rstrip(chr(10))}\n{fence}"
    if block.fold and block.text.count("\n") > 40:
        return f"<details><summary>{escape(block.fold)}</summary>\n\n{text}\n\n</details>"
    return text


def _html(block: DocumentBlock) -> str:
    if not block.pre:
        paragraphs = escape(block.text).split("\n\n")
        return "".join(f"<p>{text.replace(chr(10), '<br>')}</p>\n" for text in paragraphs)
    if block.diff:
        lines = (_diff_line(line) for line in block.text.rstrip("\n").split("\n"))
        body = "\n".join(lines)
    else:
        body = escape(block.text)
    pre = f"<pre>{body}</pre>\n"
    if block.fold:
        return f"<details><summary>{escape(block.fold)}</summary>{pre}</details>\n"
    return pre


def _diff_line(line: str) -> str:
    kind = {"+": "add", "-": "del"}.get(line[:1])
    return f'<span class="{kind}">{escape(line)}</span>' if kind else escape(line)


def is_shown(event: Event) -> bool:
    """Whether documents show the event."""
    return not isinstance(event, SessionStarted) and blocks_of(event) is not None
