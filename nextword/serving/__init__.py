"""Models behind HTTP: OpenAI's API, tasks, and the page that looks inside."""
