"""What stays on the screen and moves: `relais status --watch` and `relais watch`."""
