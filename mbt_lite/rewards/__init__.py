"""The reward law: seven pure terms of one completion, their weighted sum, and advantages within a group."""
