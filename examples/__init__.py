"""Assistants that run: `AI_AGENT=examples.rubric_assistant:agent AI_MODEL=openai:gpt-5.2 make run`."""
