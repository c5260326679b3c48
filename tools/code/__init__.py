"""Source code by its syntax: languages, definitions, references, the repository map."""
