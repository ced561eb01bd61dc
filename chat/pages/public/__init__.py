"""Pages that strangers see: the front door, the operator's texts, and what lets a browser install Tally."""
