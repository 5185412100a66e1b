"""Assistants that run: `AI_AGENT=examples.rubric_assistant:agent AI_MODEL=openai:gpt-5.2 make run`.

Each module holds one agent for `AI_AGENT`: `rubric_assistant` scores texts by the chat's `context`,
`catalogue_assistant` looks products up over HTTP. An agent gets the chat as its `deps`, a `Conversation`.
"""
