"""Screens: show messages and read lines, on a terminal or through pipes.

`screen` is the interface, and makes text safe to show; `terminal` is a line editor with the messages
scrolling by above it; `plain` reads and prints lines, for scripts.

What must stay true: text of others goes through `visible` before it is shown; a question that nobody
answers raises EOFError; the plain screen prints a reply only when it is whole, as a pipe cannot take
anything back.

Nothing here knows of chats, accounts or the network.
"""
