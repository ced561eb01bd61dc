"""The parts of /settings/ that are about money: API keys with their caps, notifications, the end of the account."""
