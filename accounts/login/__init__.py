"""How somebody comes in: signing up, log-ins and their devices, and guesses at passwords."""
