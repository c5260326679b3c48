BASE_URL = "https://api.example.org/v2"
TIMEOUT = 30
MAX_RETRIES = 4
