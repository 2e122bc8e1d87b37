"""Running tasks in child processes: killable, one task at a time each, replaced when they die or grow."""
