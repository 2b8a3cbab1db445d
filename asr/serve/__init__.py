"""A local server with OpenAI's transcription API and a page."""
