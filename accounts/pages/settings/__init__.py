"""The parts of /settings/ that are about the person: profile, signing in, devices."""
