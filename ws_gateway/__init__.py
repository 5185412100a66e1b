"""The Socket.IO gateway: verifies tokens, keeps rooms, turns bus events into frames."""
