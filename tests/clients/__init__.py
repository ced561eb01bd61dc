"""Other people's clients against a live server: `startup.py test -m clients`. Each is installed apart, at its pin."""
