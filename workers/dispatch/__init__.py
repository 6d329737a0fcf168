"""The leading dispatcher: what is due is published within the window, what expired is rescued, replays are steered.

Face: `dispatcher.Dispatcher`, `leadership.leader`, `blocked`.
"""
