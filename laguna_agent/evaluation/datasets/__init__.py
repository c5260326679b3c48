"""Public task sets, turned into suites: HumanEval, HumanEval-Rust, Aider's polyglot benchmark."""
