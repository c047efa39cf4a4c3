"""Running a recorded run again: its code, environment, data and command, from its document."""
