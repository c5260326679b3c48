"""Model servers that speak the OpenAI chat completions API."""
