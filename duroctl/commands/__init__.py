"""One module for each command or group: parse, call the client, render. Heavy imports stand inside the commands."""
