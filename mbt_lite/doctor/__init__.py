"""`mbt-lite doctor`: what is wrong with this installation, this machine, or what a recipe asks of both."""
