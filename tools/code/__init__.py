"""Source code analysis with tree-sitter: definitions, references and the repository map."""
