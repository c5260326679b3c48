"""`laguna engine`: which engines run, what they hold, and stopping them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from laguna_agent.byte_sizes import gib
from laguna_agent.errors import ExitCode
from laguna_agent.interfaces.commands.command_line import Parser, write_json, write_line
from laguna_agent.plurals import counted


def main(argv: Sequence[str]) -> int:
    """Run `laguna engine ARGV`; returns the exit code."""
    options = make_parser().parse_args(argv)
    return int(options.run(options))


def make_parser() -> Parser:
    """The command line of `laguna engine`."""
    parser = Parser(
        prog="laguna engine",
        description="The process that runs a model. It stays for a while after its last use.",
        examples=("laguna engine status", "laguna engine stop"),
    )
    actions = parser.add_actions()
    action = actions.add("status", _status, "Show what runs, with its memory and disk use.")
    action.add_json()
    actions.add("stop", _stop, "Stop every engine. Snapshots on disk stay.")
    return parser


def _stop(options: argparse.Namespace) -> int:
    from laguna_agent.models.engine import registry

    stopped = [key for key in registry.running_keys() if registry.stop(key)]
    write_line(f"stopped {counted(len(stopped), 'engine')}" if stopped else "no engine is running")
    return ExitCode.DONE


def _status(options: argparse.Namespace) -> int:
    from laguna_agent.models.engine import registry
    from laguna_agent.models.engine.snapshots import stored_snapshots
    from laguna_agent.paths import snapshots_dir

    engines = [state for key in registry.running_keys() if (state := registry.status(key))]
    count, size = stored_snapshots(snapshots_dir())
    if options.json:
        snapshots = {"directory": str(snapshots_dir()), "snapshots": count, "bytes": size}
        write_json({"engines": engines, "snapshots": snapshots})
        return ExitCode.DONE
    lines = [line for state in engines for line in [*describe(state), ""]]
    if not engines:
        lines += ["no engine is running"]
    lines += [f"snapshots on disk: {count}, {gib(size)}, in {snapshots_dir()}"]
    write_line("\n".join(lines))
    return ExitCode.DONE


def describe(state: dict[str, Any]) -> list[str]:
    """Lines about an engine, from the status that it reports."""
    if state.get("model") is None:
        loading = state.get("loading") or {}
        if loading.get("measuring"):
            return [f"engine {state['pid']}: measuring the best settings for this machine"]
        done, total = loading.get("done", 0), loading.get("total", 0)
        return [f"engine {state['pid']}: loading, {gib(done)} of {gib(total)}"]
    model, context, cache = state["model"], state["context"], state["cache"]
    tuning, counters = state["tuning"], state["counters"]
    name = model["metadata"].get("general.name") or model["architecture"]
    measured = "not measured"
    if tuning["decode_rate"]:
        measured = (
            f"measured: {tuning['decode_rate']:.1f} tokens/s one by one, "
            f"{tuning['batch_rate']:.1f} in batches"
            + ("" if tuning["measured"] else " beside other work: again when the machine is quiet")
        )
    flash = {None: "chosen by llama.cpp", True: "on", False: "off"}[context["flash_attention"]]
    if tuning["flash_gain"]:
        flash += f" ({tuning['flash_gain']:.2f} × as fast as without, at the worst depth of each"
        flash += ")" if tuning["flash_deep"] else "; measured again when the machine is quiet)"
    layout = "repacked" if state["repack"] else "as in the file"
    if tuning["repack_gain"] > 0:
        gain, error = tuning["repack_gain"], tuning["repack_error"]
        unclear = "" if state["layout_clear"] else ", not clearly different"
        layout += f" (repacked: {gain:.2f} ± {error:.2f} × the speed{unclear})"
    exact = f"; exact in batches of {tuning['exact']}" if tuning["exact"] else ""
    step = tuning["step"] or "a size not measured yet"
    work = "busy" if state["busy"] else "idle"
    accepted, drafted = counters["accepted_tokens"], counters["drafted_tokens"]
    lines = [
        (
            f"engine {state['pid']}: {name} {model['quantization']}, {work}, "
            f"{state['clients']} connected, {state['waiting']} waiting, "
            f"stays {state['keep_alive']:g} s after its last use"
        ),
        f"  file      {model['path']}",
        f"  weights   {layout}",
        (
            f"  memory    {gib(state['resident'])} resident; context of {model['context']} "
            f"tokens, KV {context['kv_type']}, flash attention {flash}"
        ),
        (
            f"  threads   {tuning['threads']} for single tokens, {tuning['threads_batch']} for "
            f"batches of {context['micro_batch']} ({measured}); prompts in steps of {step}"
        ),
        (
            f"  cache     {cache['tokens']} tokens, {cache['checkpoints']} checkpoints "
            f"({gib(cache['checkpoint_bytes'])}), {cache['parked']} parked conversations "
            f"({gib(cache['parked_bytes'])})"
        ),
        (
            f"  decoded   {counters['decoded_tokens']} tokens, {counters['generated_tokens']} of "
            f"them generated; {accepted} of {drafted} draft tokens accepted{exact}"
        ),
    ]
    snapshots = state.get("snapshots")
    if snapshots:
        lines.append(
            f"  snapshots {snapshots['snapshots']} of this model, {gib(snapshots['bytes'])}; "
            f"limit for all models {gib(snapshots['limit'])}"
        )
    return lines
