"""The engine process: llama.cpp behind a Unix socket, and the client that speaks to it."""
