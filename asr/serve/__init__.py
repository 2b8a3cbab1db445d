"""A local server with OpenAI's transcription API, live streams and a web page."""
