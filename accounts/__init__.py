"""Who somebody is: the user, log-in by e-mail, staff."""
