"""Config: reading a process's settings, and refusing bad ones before anything starts.

`settings` has the settings of every service: environment variables, then `.env`; each service adds its own by
inheriting. `addresses` checks hosts, URLs and origins. `start_errors` are the errors that end a program
before it serves, with its exit status; other rooms raise them too.

What must stay true:

- Settings are read once, in `__main__`; modules take values.
- All that is wrong is said at once, a line for each variable, with what it may be.
- No message holds a password or key: `masked` shows what may be shown.
- A variable that is empty or blank counts as not set.

It opens nothing and asks no server: a URL that is well formed may lead nowhere.
"""
