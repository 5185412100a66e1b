"""The assistant worker: turns a reply request into a streamed reply."""
