"""`laguna engine`: the engines that run, what they hold, and ending them."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from laguna_agent.errors import ExitCode


def main(argv: list[str]) -> int:
    """Run `laguna engine ARGV`; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="laguna engine",
        description="The process that runs the model. It stays for a while after its last use.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "What runs, what it holds in memory and on disk."
    sub = commands.add_parser("status", help=text, description=text)
    sub.add_argument("--json", action="store_true", help="one JSON object")
    text = "End every engine; what they stored on disk stays."
    commands.add_parser("stop", help=text, description=text)
    arguments = parser.parse_args(argv)
    if arguments.command == "stop":
        return _stop()
    return _status(as_json=arguments.json)


def _stop() -> int:
    from laguna_agent.models.engine import registry

    ended = [key for key in registry.running_keys() if registry.stop(key)]
    sys.stdout.write(f"{len(ended)} ended\n" if ended else "no engine was running\n")
    return int(ExitCode.DONE)


def _status(*, as_json: bool) -> int:
    from laguna_agent.models.engine import registry
    from laguna_agent.models.engine.snapshots import stored_snapshots
    from laguna_agent.paths import snapshots_dir

    engines = [state for key in registry.running_keys() if (state := registry.status(key))]
    count, size = stored_snapshots(snapshots_dir())
    if as_json:
        snapshots = {"directory": str(snapshots_dir()), "snapshots": count, "bytes": size}
        json.dump({"engines": engines, "snapshots": snapshots}, sys.stdout, indent=2)
        sys.stdout.write("\n")
        return int(ExitCode.DONE)
    lines = [line for state in engines for line in [*describe(state), ""]]
    if not engines:
        lines += ["no engine is running"]
    lines += [f"snapshots on disk: {count}, {_size(size)}, in {snapshots_dir()}"]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(ExitCode.DONE)


def describe(state: dict[str, Any]) -> list[str]:
    """Lines about an engine, from what it says of itself."""
    if state.get("model") is None:
        loading = state.get("loading") or {}
        done, total = loading.get("done", 0), loading.get("total", 0)
        if loading.get("measuring"):
            return [f"engine {state['pid']}: measuring what suits this machine"]
        return [f"engine {state['pid']}: loading, {_size(done)} of {_size(total)}"]
    model, context, cache = state["model"], state["context"], state["cache"]
    tuning, counters = state["tuning"], state["counters"]
    name = model["metadata"].get("general.name") or model["architecture"]
    measured = (
        f"measured: {tuning['decode_rate']:.1f} tokens/s alone, "
        f"{tuning['batch_rate']:.1f} in batches"
        + ("" if tuning["measured"] else ", while the machine was busy")
        if tuning["decode_rate"]
        else "not measured"
    )
    flash = {None: "chosen by llama.cpp", True: "on", False: "off"}[context["flash_attention"]]
    if tuning["flash_gain"]:
        flash += f" ({tuning['flash_gain']:.2f} × the speed without)"
    layout = "rearranged" if state["repack"] else "as in the file"
    if tuning["repack_gain"] > 0:
        layout += f" (rearranged: {tuning['repack_gain']:.2f} × the speed)"
    exact = ""
    if tuning["exact"]:
        exact = f"; exact in batches of {tuning['exact']}"
    step = tuning["step"] or "a size that is being learnt"
    work = "busy" if state["busy"] else "idle"
    lines = [
        (
            f"engine {state['pid']}: {name} {model['quantization']}, {work}, "
            f"{state['clients']} connected, {state['waiting']} waiting, "
            f"stays {state['keep_alive']:g} s after its last use"
        ),
        f"  file      {model['path']}",
        f"  weights   {layout}",
        (
            f"  memory    {_size(state['resident'])} resident; context of {model['context']} "
            f"tokens, "
            f"KV {context['kv_type']}, flash attention {flash}"
        ),
        (
            f"  threads   {tuning['threads']} alone, {tuning['threads_batch']} in batches of "
            f"{context['micro_batch']} ({measured}); prompts in steps of {step}"
        ),
        (
            f"  cache     {cache['tokens']} tokens, {cache['checkpoints']} checkpoints "
            f"({_size(cache['checkpoint_bytes'])}), {cache['parked']} parked conversations "
            f"({_size(cache['parked_bytes'])})"
        ),
        (
            f"  decoded   {counters['decoded_tokens']} tokens, {counters['generated_tokens']} "
            f"of them "
            f"written; {counters['drafted_tokens']} drafted, "
            f"{counters['accepted_tokens']} rightly{exact}"
        ),
    ]
    snapshots = state.get("snapshots")
    if snapshots:
        lines.append(
            f"  snapshots {snapshots['snapshots']} of this model, {_size(snapshots['bytes'])}; "
            f"limit for all {_size(snapshots['limit'])}"
        )
    return lines


def _size(count: int) -> str:
    if count < 1 << 20:
        return f"{count / 1024:.0f} KiB"
    if count < 1 << 30:
        return f"{count / (1 << 20):.0f} MiB"
    return f"{count / (1 << 30):.2f} GiB"
